#!lua flags=allow-oom
-- Bring a held line to what the journal and SQL say, piece by piece. A repeat changes nothing.
-- KEYS 1 state (hash) 2 line (ZSET)
-- ARGV 1 epoch of the lease 2 how many to put in, then of each: sequence, user; then who to take out
local state = redis.call('HMGET', KEYS[1], 'epoch', 'fence')
if state[1] ~= ARGV[1] or state[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
local last = 2 + 2 * tonumber(ARGV[2])
if last > 2 then redis.call('ZADD', KEYS[2], unpack(ARGV, 3, last)) end
if #ARGV > last then redis.call('ZREM', KEYS[2], unpack(ARGV, last + 1)) end
return 1
