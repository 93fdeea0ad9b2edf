#!lua flags=allow-oom
-- All claims of a batch are admitted, as a crowd's are: take them away, and say so of each user.
-- KEYS 1 claims (ZSET) 2 claimed at (hash) 3 state (hash) 4 outcomes (hash)
-- ARGV 1 fence 2 epoch of the lease 3 first sequence of the batch 4 its last 5 how many it has
--      6 seconds that an outcome is kept
-- → how many were cleared: all, or none where the claims between these sequences are others; then `clear` looks at each
local state = redis.call('HMGET', KEYS[3], 'fence', 'epoch', 'admitted')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if state[2] ~= ARGV[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
local claims = redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[4], 'BYSCORE', 'WITHSCORES')
if #claims ~= 2 * tonumber(ARGV[5]) then return 0 end
local outcomes = {}
for i = 1, #claims, 2 do outcomes[i], outcomes[i + 1] = claims[i], 'admitted:' .. claims[i + 1] end
if redis.call('ZCARD', KEYS[1]) == #claims / 2 then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[3], ARGV[4])
end
if type(redis.pcall('HSETEX', KEYS[4], 'EX', ARGV[6], 'FIELDS', ARGV[5], unpack(outcomes))) == 'table' then
  redis.call('HSET', KEYS[4], unpack(outcomes))  -- an older server: with the age behind it, or none
  for i = 1, #outcomes, 2 do redis.pcall('HEXPIRE', KEYS[4], ARGV[6], 'FIELDS', 1, outcomes[i]) end
end
local admitted = string.format('%.0f', tonumber(state[3] or '0') + ARGV[5])
redis.call('HSET', KEYS[3], 'serving', ARGV[4], 'held', '0', 'admitted', admitted)
return #claims / 2
