#!lua flags=no-writes,allow-oom
-- A piece of who waits, in order, for a snapshot; with the claims behind the last piece.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 state (hash)
-- ARGV 1 fence 2 sequence that was read last 3 how many
-- → {1 where this is the last piece, then user, sequence, …}
local state = redis.call('HMGET', KEYS[3], 'fence')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local piece = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[2], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
local ended = #piece < 2 * tonumber(ARGV[3])
local answer = {ended and 1 or 0}
for i = 1, #piece do answer[#answer + 1] = piece[i] end
if ended then
  local claims = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  for i = 1, #claims do answer[#answer + 1] = claims[i] end
end
return answer
