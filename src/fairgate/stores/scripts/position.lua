#!lua flags=no-writes,allow-oom
-- Where each user stands: in many lines, each by itself. Changes nothing.
-- KEYS of each line: line (ZSET), claims (ZSET), state (hash), outcomes (hash)
-- ARGV of each line: fence, how many users, the user ids (at most 1,000 of all lines)
-- → of each line its error, or {size, recovering, '', then for each user: sequence, position} where position is
--     > 0 waiting   0 admitted (claimed)   -3 see the outcome in place of the sequence   -4 not known here
local call = redis.call

-- One line: its keys begin behind `k`, its words at `at`.
local function positions(k, at, count)
  local line, claimed, state_of, ended = unpack(KEYS, k + 1, k + 4)
  local state = call('HMGET', state_of, 'fence', 'held', 'recovering')
  if state[1] ~= ARGV[at] then return redis.error_reply('FGSTALE the line is not prepared here') end
  local users = {unpack(ARGV, at + 2, at + 1 + count)}
  local answer = {call('ZCARD', line), state[3] == '1' and 1 or 0, ''}
  local scores = call('ZMSCORE', line, unpack(users))
  local claims = call('ZCARD', claimed) > 0 and call('ZMSCORE', claimed, unpack(users)) or {}
  local outcomes = call('HMGET', ended, unpack(users))
  for i, user in ipairs(users) do
    local sequence, position = 0, -4
    if scores[i] then
      sequence, position = tonumber(scores[i]), call('ZRANK', line, user) + 1
    elseif claims[i] then
      sequence, position = tonumber(claims[i]), state[2] == '1' and 1 or 0
    elseif outcomes[i] then
      sequence, position = outcomes[i], -3
    end
    answer[#answer + 1] = sequence
    answer[#answer + 1] = position
  end
  return answer
end

local answers, k, at = {}, 0, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  local _, answer = pcall(positions, k, at, count) -- what fails in one line is no matter of the others
  answers[#answers + 1] = type(answer) == 'table' and answer or {err = tostring(answer)}
  k, at = k + 4, at + 2 + count
end
return answers
