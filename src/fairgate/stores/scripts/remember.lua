#!lua flags=allow-oom
-- Cache what became of users who no longer wait: only forward, and never over somebody who waits again.
-- KEYS 1 line (ZSET) 2 outcomes (hash) 3 claims (ZSET)
-- ARGV 1 seconds that an outcome is kept 2… user, sequence, outcome, …
-- → how many were written
local users = {}
for i = 2, #ARGV, 3 do users[#users + 1] = ARGV[i] end
local waiting = redis.call('ZMSCORE', KEYS[1], unpack(users))
local claimed = redis.call('ZMSCORE', KEYS[3], unpack(users))
local known = redis.call('HMGET', KEYS[2], unpack(users))
local fresh, names = {}, {}
for i, user in ipairs(users) do
  local sequence = tonumber(ARGV[i * 3])
  local newer = true
  if known[i] then
    local before = tonumber(string.match(known[i], '^[a-z_]+:(-?%d+)'))
    newer = before == nil or sequence >= before or sequence < 0
  end
  if newer and not waiting[i] and not claimed[i] then
    fresh[#fresh + 1], fresh[#fresh + 2] = user, ARGV[1 + i * 3]
    names[#names + 1] = user
  end
end
if #names == 0 then return 0 end
redis.call('HSET', KEYS[2], unpack(fresh))
redis.pcall('HEXPIRE', KEYS[2], ARGV[1], 'FIELDS', #names, unpack(names))
return #names
