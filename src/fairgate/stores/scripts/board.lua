#!lua flags=no-writes,allow-oom
-- The public view of a line: a table of (sequence, rank) pairs from which a page works out its own place.
-- KEYS 1 line (ZSET) 2 state (hash) 3 claims (ZSET)
-- ARGV 1 fence 2 how many steps
-- → {size, claims, serving, joined, left, admitted, departed, recovering, bound, then sequence, rank, …}
local state = redis.call('HMGET', KEYS[2], 'fence', 'serving', 'joined', 'left', 'admitted', 'departed', 'recovering',
  'bound')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local size = redis.call('ZCARD', KEYS[1])
local answer = {size, redis.call('ZCARD', KEYS[3])}
for i = 2, 7 do answer[#answer + 1] = tonumber(state[i] or '0') end
answer[#answer + 1] = state[8] or 'none'
local steps = tonumber(ARGV[2])
local stride = math.max(1, math.ceil(size / steps))
local rank = 0
while size > 0 do
  local pair = redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')
  if #pair == 0 then break end
  answer[#answer + 1], answer[#answer + 2] = tonumber(pair[2]), rank
  if rank == size - 1 then break end
  rank = math.min(rank + stride, size - 1)
end
return answer
