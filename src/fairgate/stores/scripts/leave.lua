#!lua flags=allow-oom
-- Give up the place. While claimed or admitted it is too late: the answer says so. Where memory is full it works too.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 state (hash) 4 outcomes (hash) 5 journal (stream)
-- ARGV 1 fence 2 user id 3 bytes that the journal may hold
-- → {size, recovering, journal id, sequence, position} as in join.lua and position.lua; position -5: has left now
local state = redis.call('HMGET', KEYS[3], 'fence', 'era', 'journal_bytes', 'journal_last', 'recovering')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local user, last, recovering = ARGV[2], state[4] or '', state[5] == '1' and 1 or 0
local score = redis.call('ZSCORE', KEYS[1], user)
if score then
  local sequence, bytes = string.format('%.0f', tonumber(score)), tonumber(state[3] or '0')
  redis.call('HSET', KEYS[4], user, 'left:' .. sequence)
  redis.call('ZREM', KEYS[1], user)
  redis.call('HINCRBY', KEYS[3], 'left', 1)
  if last ~= '+' then
    local text = sequence .. ' ' .. user
    bytes = bytes + #text + 32
    if bytes > tonumber(ARGV[3]) then
      redis.call('DEL', KEYS[5])
      bytes, last = 0, '+'
    else
      last = redis.call('XADD', KEYS[5], '*', 'l', (state[2] or '0') .. ' ' .. text)
    end
    redis.call('HSET', KEYS[3], 'journal_bytes', bytes, 'journal_last', last)
  end
  return {redis.call('ZCARD', KEYS[1]), recovering, last, tonumber(score), -5}
end
local size = redis.call('ZCARD', KEYS[1])
local claim = redis.call('ZSCORE', KEYS[2], user)
if claim then return {size, recovering, last, tonumber(claim), 0} end
local outcome = redis.call('HGET', KEYS[4], user)
if outcome then return {size, recovering, last, outcome, -3} end
return {size, recovering, last, 0, -4}
