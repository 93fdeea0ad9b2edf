#!lua flags=no-writes,allow-oom
-- Where each user stands. Changes nothing.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 state (hash) 4 outcomes (hash)
-- ARGV 1 fence 2… user ids (at most 1,000)
-- → {size, recovering, '', then for each user: sequence, position} where position is
--     > 0 waiting   0 admitted (claimed)   -3 see the outcome in place of the sequence   -4 not known here
local state = redis.call('HMGET', KEYS[3], 'fence', 'held', 'recovering')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local users = {}
for i = 2, #ARGV do users[i - 1] = ARGV[i] end
local answer = {redis.call('ZCARD', KEYS[1]), state[3] == '1' and 1 or 0, ''}
local scores = redis.call('ZMSCORE', KEYS[1], unpack(users))
local claims = redis.call('ZCARD', KEYS[2]) > 0 and redis.call('ZMSCORE', KEYS[2], unpack(users)) or {}
local outcomes = redis.call('HMGET', KEYS[4], unpack(users))
for i, user in ipairs(users) do
  local sequence, position = 0, -4
  if scores[i] then
    sequence, position = tonumber(scores[i]), redis.call('ZRANK', KEYS[1], user) + 1
  elseif claims[i] then
    sequence, position = tonumber(claims[i]), state[2] == '1' and 1 or 0
  elseif outcomes[i] then
    sequence, position = outcomes[i], -3
  end
  answer[#answer + 1] = sequence
  answer[#answer + 1] = position
end
return answer
