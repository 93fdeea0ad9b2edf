#!lua flags=allow-oom
-- The claims that SQL has: take them away and say what became of each user.
-- KEYS 1 claims (ZSET) 2 claimed at (hash) 3 state (hash) 4 outcomes (hash)
-- ARGV 1 fence 2 epoch of the lease 3 counter to raise ('admitted', 'departed') 4 held (1: claims remain that found nothing to
--      reserve) 5 seconds that an outcome is kept 6… user, sequence, outcome, …
-- → how many were cleared
-- A repeat is harmless: only a claim of the same sequence is cleared.
local state = redis.call('HMGET', KEYS[3], 'fence', 'epoch', 'held')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if state[2] ~= ARGV[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
if (state[3] or '0') ~= ARGV[4] then redis.call('HSET', KEYS[3], 'held', ARGV[4]) end
if #ARGV < 6 then return 0 end
local users = {}
for i = 6, #ARGV, 3 do users[#users + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', KEYS[1], unpack(users))
local gone, outcomes, serving = {}, {}, 0
for i, user in ipairs(users) do
  local sequence = tonumber(ARGV[4 + i * 3])
  if scores[i] and tonumber(scores[i]) == sequence then
    gone[#gone + 1] = user
    outcomes[#outcomes + 1], outcomes[#outcomes + 2] = user, ARGV[5 + i * 3]
    if sequence > serving then serving = sequence end
  end
end
if #gone == 0 then return 0 end
redis.call('ZREM', KEYS[1], unpack(gone))
redis.call('HSET', KEYS[4], unpack(outcomes))
redis.pcall('HEXPIRE', KEYS[4], ARGV[5], 'FIELDS', #gone, unpack(gone))
redis.call('HINCRBY', KEYS[3], ARGV[3], #gone)
redis.call('HSET', KEYS[3], 'serving', string.format('%.0f', serving))
-- Of what was claimed together and is all gone, the time goes too.
local stamps = redis.call('HKEYS', KEYS[2])
table.sort(stamps, function(a, b) return (tonumber(a) or 0) < (tonumber(b) or 0) end)
for i, first in ipairs(stamps) do
  local next = stamps[i + 1] and '(' .. stamps[i + 1] or '+inf'
  if not tonumber(first) or redis.call('ZCOUNT', KEYS[1], first, next) == 0 then redis.call('HDEL', KEYS[2], first) end
end
return #gone
