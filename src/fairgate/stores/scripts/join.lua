#!lua
-- Give each user a place, or say which place or outcome the user already has: in many lines, each by itself. Refused as a
-- whole where memory is full.
-- KEYS of each line: line (ZSET), sequence counter, claims (ZSET), state (hash), outcomes (hash), journal (stream)
-- ARGV 1 wake channel 2 bytes that a journal may hold, then of each line: fence, first sequence of the generation, event id,
--      how many users, how many tokens, of each token the number of its user (from 1) and the sequence, and the user ids
--      (at most 512 of all lines)
-- → of each line its error, or {size, recovering, journal id, then for each user: sequence, position} where position is
--     > 0 waiting   0 admitted (claimed)   -1 refused: not open   -2 told: sold out   -3 see the outcome in place of the sequence
--   and the journal id is the entry after which all of these places are safe ('+': none, Kafka is away for too long)
-- A repeat is harmless: a member keeps its first score.
local call, WAKE, JOURNAL_MAX = redis.call, ARGV[1], tonumber(ARGV[2])
local HOLDS = {admitted = true, issued = true, confirmed = true}

-- → the bytes that the journal has now, its last entry
local function note(journal, era, kind, text, bytes, last)
  if last == '+' then return bytes, last end
  bytes = bytes + #text + 32
  if bytes > JOURNAL_MAX then
    call('DEL', journal)
    return 0, '+'
  end
  return bytes, call('XADD', journal, '*', kind, era .. ' ' .. text)
end

-- A lost place comes back where its token is of an older generation and above what was found when that one ended.
local function comes_back(k, user, sequence, first)
  local generation = math.floor(sequence / 1099511627776)
  local mark = call('HGET', KEYS[k + 4], 'mark:' .. string.format('%d', generation))
  if sequence >= first or not mark or sequence <= tonumber(mark) then return false end
  if call('ZSCORE', KEYS[k + 1], user) or call('ZSCORE', KEYS[k + 3], user) then return false end
  local outcome = call('HGET', KEYS[k + 5], user)
  if not outcome then return true end
  local status, ended = string.match(outcome, '^([a-z_]+):(-?%d+)')
  return not HOLDS[status] and ended ~= nil and tonumber(ended) < sequence
end

-- → who comes back by the tokens from `at` on: sequence, user, …
local function rejoined(k, at, tokens, users_at, first)
  local back = {}
  for i = at, at + 2 * tokens - 2, 2 do
    local user, sequence = ARGV[users_at + ARGV[i] - 1], tonumber(ARGV[i + 1])
    if comes_back(k, user, sequence, first) then
      call('ZADD', KEYS[k + 1], ARGV[i + 1], user)
      call('HDEL', KEYS[k + 5], user)
      back[#back + 1] = ARGV[i + 1]
      back[#back + 1] = user
    end
  end
  return back
end

-- Whether the outcome is the answer to who joins again.
local function is_final(outcome, open, sold_out)
  local status = string.match(outcome, '^[a-z_]+')
  if status == 'left' or status == 'cancelled' or status == 'expired' then return false end
  if status == 'closed' then return not open end
  if status == 'sold_out' then return sold_out end
  return true
end

-- One line: its keys begin behind `k`, its words at `at`.
local function join(k, at, count, tokens)
  local line, sequences, claimed, state_of, ended, journal = unpack(KEYS, k + 1, k + 6)
  local state = call('HMGET', state_of, 'fence', 'state', 'sold_out', 'held', 'joined', 'era', 'journal_bytes',
    'journal_last', 'recovering')
  if state[1] ~= ARGV[at] then return redis.error_reply('FGSTALE the line is not prepared here') end
  local first, users_at = tonumber(ARGV[at + 1]), at + 5 + 2 * tokens
  local users = {unpack(ARGV, users_at, users_at + count - 1)}
  local open, sold_out = state[2] == 'open' or state[2] == 'paused', state[3] == '1'
  local era, bytes, last = state[6] or '0', tonumber(state[7] or '0'), state[8] or ''
  local before, came_back = call('ZCARD', line), 0
  if tokens > 0 then
    local back = rejoined(k, at + 5, tokens, users_at, first)
    came_back = #back / 2
    if came_back > 0 then bytes, last = note(journal, era, 'p', table.concat(back, ' '), bytes, last) end
  end

  local scores = call('ZMSCORE', line, unpack(users))
  local claims = call('ZCARD', claimed) > 0 and call('ZMSCORE', claimed, unpack(users)) or {}
  local outcomes = call('HMGET', ended, unpack(users))
  local size, new, fresh, nth, unnumbered = before + came_back, {}, {}, {}, {}
  local answer = {0, state[9] == '1' and 1 or 0, ''}
  for i, user in ipairs(users) do
    local sequence, position
    if scores[i] then
      sequence, position = tonumber(scores[i]), call('ZRANK', line, user) + 1
    elseif claims[i] then
      sequence, position = tonumber(claims[i]), state[4] == '1' and 1 or 0
    elseif nth[user] then
      position = size + nth[user]
    elseif outcomes[i] and is_final(outcomes[i], open, sold_out) then
      sequence, position = outcomes[i], -3
    elseif not open then
      sequence, position = 0, -1
    elseif sold_out then
      sequence, position = 0, -2
    else
      new[#new + 1] = user
      nth[user], position = #new, size + #new
      fresh[#fresh + 1] = outcomes[i] and user or nil
    end
    if not sequence then unnumbered[#answer + 1] = nth[user] end
    answer[#answer + 1] = sequence or 0
    answer[#answer + 1] = position
  end

  if #new > 0 then
    local last_before = first + call('INCRBY', sequences, #new) - #new
    local added = {}
    for i, user in ipairs(new) do
      added[2 * i - 1], added[2 * i] = string.format('%.0f', last_before + i), user
    end
    for place, i in pairs(unnumbered) do answer[place] = last_before + i end
    size = size + #new
    call('ZADD', line, unpack(added))
    if #fresh > 0 then call('HDEL', ended, unpack(fresh)) end
    bytes, last = note(journal, era, 'j', added[1] .. ' ' .. table.concat(new, ' '), bytes, last)
  end
  if #new + came_back > 0 then
    local joined = tonumber(state[5] or '0') + #new + came_back
    call('HSET', state_of, 'joined', joined, 'journal_bytes', bytes, 'journal_last', last)
    if came_back > 0 then call('HINCRBY', state_of, 'restored', came_back) end
    if before == 0 then call('PUBLISH', WAKE, ARGV[at + 2]) end
  end
  answer[1], answer[3] = size, last
  return answer
end

local answers, k, at = {}, 0, 3
while at <= #ARGV do
  local count, tokens = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local _, answer = pcall(join, k, at, count, tokens) -- what fails in one line is no matter of the others
  answers[#answers + 1] = type(answer) == 'table' and answer or {err = tostring(answer)}
  k, at = k + 6, at + 5 + 2 * tokens + count
end
return answers
