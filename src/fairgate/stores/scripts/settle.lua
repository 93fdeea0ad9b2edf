#!lua flags=allow-oom
-- The time to show tokens is over: admission goes on.
-- KEYS 1 state (hash)
-- ARGV 1 fence 2 epoch of the lease
-- → how many came back by their tokens
local state = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'restored')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if state[2] ~= ARGV[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
redis.call('HDEL', KEYS[1], 'recovering')
return tonumber(state[3] or '0')
