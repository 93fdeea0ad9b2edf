#!lua flags=no-writes,allow-oom
-- The account of one line at one moment, for audits and operators: asks for no fence, changes nothing.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 claimed at (hash: first sequence of what was claimed together → epoch ms)
--      4 state (hash)
-- ARGV 1 how many claims to name at most
-- → {fence, recovering, held, joined, left, admitted, departed, waiting, claims, age of the oldest claim in ms,
--    then user, sequence, age in ms, … by sequence}
local state = redis.call('HMGET', KEYS[4], 'fence', 'recovering', 'held', 'joined', 'left', 'admitted', 'departed')
local answer = {state[1] or ''}
for i = 2, 7 do answer[i] = tonumber(state[i] or '0') end
answer[8], answer[9], answer[10] = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2]), 0
if answer[9] == 0 then return answer end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamps, flat = {}, redis.call('HGETALL', KEYS[3])
for i = 1, #flat, 2 do
  local first = tonumber(flat[i])
  if first then stamps[#stamps + 1] = {first, now - tonumber(flat[i + 1])} end
end
table.sort(stamps, function(a, b) return a[1] < b[1] end)

local function age(sequence)
  local found = 0
  for _, stamp in ipairs(stamps) do
    if stamp[1] > sequence then break end
    found = stamp[2]
  end
  return found
end

for i, stamp in ipairs(stamps) do
  local next = stamps[i + 1] and string.format('(%.0f', stamps[i + 1][1]) or '+inf'
  local there = redis.call('ZCOUNT', KEYS[2], string.format('%.0f', stamp[1]), next)
  if there > 0 then answer[10] = math.max(answer[10], stamp[2]) end
end
local named = tonumber(ARGV[1])
local claims = named > 0 and redis.call('ZRANGE', KEYS[2], 0, named - 1, 'WITHSCORES') or {}
for i = 1, #claims, 2 do
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = claims[i], claims[i + 1], age(tonumber(claims[i + 1]))
end
return answer
