#!lua
-- Give each user a place, or say which place or outcome the user already has. Refused as a whole where memory is full.
-- KEYS 1 line (ZSET) 2 sequence counter 3 claims (ZSET) 4 state (hash) 5 outcomes (hash) 6 journal (stream)
-- ARGV 1 fence 2 first sequence of the generation 3 wake channel 4 event id 5 bytes that the journal may hold
--      6 how many tokens, then of each: number of its user (from 1), sequence; then the user ids (at most 512)
-- → {size, recovering, journal id, then for each user: sequence, position} where position is
--     > 0 waiting   0 admitted (claimed)   -1 refused: not open   -2 told: sold out   -3 see the outcome in place of the sequence
--   and the journal id is the entry after which all of these places are safe ('+': none, Kafka is away for too long)
-- A repeat is harmless: a member keeps its first score.
local state = redis.call('HMGET', KEYS[4], 'fence', 'state', 'sold_out', 'held', 'joined', 'era', 'journal_bytes',
  'journal_last', 'recovering')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local shown = tonumber(ARGV[6])
local users = {}
for i = 7 + 2 * shown, #ARGV do users[#users + 1] = ARGV[i] end
local before = redis.call('ZCARD', KEYS[1])
local first, joined = tonumber(ARGV[2]), tonumber(state[5] or '0')
local era, bytes, last = state[6] or '0', tonumber(state[7] or '0'), state[8] or ''
local rejoined = 0
local HOLDS = {admitted = true, issued = true, confirmed = true}

local function note(kind, text)
  if last == '+' then return end
  bytes = bytes + #text + 32
  if bytes > tonumber(ARGV[5]) then
    redis.call('DEL', KEYS[6])
    bytes, last = 0, '+'
  else
    last = redis.call('XADD', KEYS[6], '*', kind, era .. ' ' .. text)
  end
end

-- A lost place comes back where its token is of an older generation and above what was found when that one ended.
local function comes_back(user, sequence)
  local generation = math.floor(sequence / 1099511627776)
  local mark = redis.call('HGET', KEYS[4], 'mark:' .. string.format('%d', generation))
  if sequence >= first or not mark or sequence <= tonumber(mark) then return false end
  if redis.call('ZSCORE', KEYS[1], user) or redis.call('ZSCORE', KEYS[3], user) then return false end
  local outcome = redis.call('HGET', KEYS[5], user)
  if not outcome then return true end
  local status, ended = string.match(outcome, '^([a-z_]+):(-?%d+)')
  return not HOLDS[status] and ended ~= nil and tonumber(ended) < sequence
end

if shown > 0 then
  local back = {}
  for i = 7, 6 + 2 * shown, 2 do
    local user, sequence = users[tonumber(ARGV[i])], tonumber(ARGV[i + 1])
    if comes_back(user, sequence) then
      redis.call('ZADD', KEYS[1], ARGV[i + 1], user)
      redis.call('HDEL', KEYS[5], user)
      back[#back + 1] = ARGV[i + 1]
      back[#back + 1] = user
    end
  end
  if #back > 0 then
    rejoined = #back / 2
    note('p', table.concat(back, ' '))
  end
end

local scores = redis.call('ZMSCORE', KEYS[1], unpack(users))
local claims = redis.call('ZCARD', KEYS[3]) > 0 and redis.call('ZMSCORE', KEYS[3], unpack(users)) or {}
local outcomes = redis.call('HMGET', KEYS[5], unpack(users))
local open = state[2] == 'open' or state[2] == 'paused'
local size, new, fresh, nth, unnumbered = before + rejoined, {}, {}, {}, {}
local answer = {0, state[9] == '1' and 1 or 0, ''}

local function final(outcome)
  local status = string.match(outcome, '^[a-z_]+')
  if status == 'left' or status == 'cancelled' or status == 'expired' then return false end
  if status == 'closed' then return not open end
  if status == 'sold_out' then return state[3] == '1' end
  return true
end

for i, user in ipairs(users) do
  local sequence, position
  if scores[i] then
    sequence, position = tonumber(scores[i]), redis.call('ZRANK', KEYS[1], user) + 1
  elseif claims[i] then
    sequence, position = tonumber(claims[i]), state[4] == '1' and 1 or 0
  elseif nth[user] then
    position = size + nth[user]
  elseif outcomes[i] and final(outcomes[i]) then
    sequence, position = outcomes[i], -3
  elseif not open then
    sequence, position = 0, -1
  elseif state[3] == '1' then
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
  local last_before = first + redis.call('INCRBY', KEYS[2], #new) - #new
  local added = {}
  for i, user in ipairs(new) do
    added[2 * i - 1], added[2 * i] = string.format('%.0f', last_before + i), user
  end
  for at, i in pairs(unnumbered) do answer[at] = last_before + i end
  size = size + #new
  redis.call('ZADD', KEYS[1], unpack(added))
  if #fresh > 0 then redis.call('HDEL', KEYS[5], unpack(fresh)) end
  note('j', added[1] .. ' ' .. table.concat(new, ' '))
end
if #new + rejoined > 0 then
  redis.call('HSET', KEYS[4], 'joined', joined + #new + rejoined, 'journal_bytes', bytes, 'journal_last', last)
  if rejoined > 0 then redis.call('HINCRBY', KEYS[4], 'restored', rejoined) end
  if before == 0 then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
end
answer[1], answer[3] = size, last
return answer
