#!lua flags=allow-oom
-- Which bound decides how many are admitted, for who reads the board.
-- KEYS 1 state (hash)
-- ARGV 1 fence 2 epoch of the lease 3 the bound
-- → 1
local state = redis.call('HMGET', KEYS[1], 'fence', 'epoch')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if state[2] ~= ARGV[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
redis.call('HSET', KEYS[1], 'bound', ARGV[3])
return 1
