#!lua flags=no-writes,allow-oom
-- The account of one line at one moment, for audits and operators: asks for no fence, changes nothing.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 claimed at (hash: user → epoch ms) 4 state (hash)
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
for _, at in ipairs(redis.call('HVALS', KEYS[3])) do
  answer[10] = math.max(answer[10], now - tonumber(at))
end
local named = tonumber(ARGV[1])
local claims = named > 0 and redis.call('ZRANGE', KEYS[2], 0, named - 1, 'WITHSCORES') or {}
for i = 1, #claims, 2 do
  answer[#answer + 1], answer[#answer + 2] = claims[i], claims[i + 1]
  answer[#answer + 1] = now - tonumber(redis.call('HGET', KEYS[3], claims[i]) or now)
end
return answer
