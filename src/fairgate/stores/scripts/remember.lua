#!lua flags=allow-oom
-- Cache what became of users who no longer wait: only forward, and never over somebody who waits again.
-- KEYS 1 line (ZSET) 2 outcomes (hash) 3 claims (ZSET)
-- ARGV 1 seconds that an outcome is kept 2… user, sequence, outcome, …
-- → how many were written
local users = {}
for i = 2, #ARGV, 3 do users[#users + 1] = ARGV[i] end
local known = redis.call('HMGET', KEYS[2], unpack(users))
local fresh = {}

-- Whoever joins again has no outcome any more: who is known as admitted by this very place does not wait.
local function passes(i, user, sequence)
  if known[i] == 'admitted:' .. sequence then return true end
  if redis.call('ZSCORE', KEYS[1], user) or redis.call('ZSCORE', KEYS[3], user) then return false end
  local before = known[i] and tonumber(string.match(known[i], '^[a-z_]+:(-?%d+)'))
  return not before or tonumber(sequence) >= before or tonumber(sequence) < 0
end

for i, user in ipairs(users) do
  if passes(i, user, ARGV[i * 3]) then
    fresh[#fresh + 1], fresh[#fresh + 2] = user, ARGV[1 + i * 3]
  end
end
if #fresh == 0 then return 0 end
if type(redis.pcall('HSETEX', KEYS[2], 'EX', ARGV[1], 'FIELDS', #fresh / 2, unpack(fresh))) == 'table' then
  redis.call('HSET', KEYS[2], unpack(fresh))  -- an older server: with the age behind it, or none
  for i = 1, #fresh, 2 do redis.pcall('HEXPIRE', KEYS[2], ARGV[1], 'FIELDS', 1, fresh[i]) end
end
return #fresh / 2
