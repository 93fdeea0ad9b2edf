#!lua flags=allow-oom
-- Forget the entries of a line's journal that Kafka has by now, and read the oldest of the others for the way there.
-- KEYS 1 journal (stream) 2 state (hash)
-- ARGV 1 fence 2 how many entries 3 id of the last entry that Kafka has (empty: none since the last call)
-- → {era, 1 where the journal has a gap, epoch s of the last snapshot, then id, kind, text, …}
-- A repeat is harmless: what is forgotten already is not there.
local state = redis.call('HMGET', KEYS[2], 'fence', 'era', 'journal_last', 'snapshot_at', 'journal_bytes')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if ARGV[3] ~= '' then
  local before, ms, last = redis.call('XLEN', KEYS[1]), string.match(ARGV[3], '^(%d+)%-(%d+)$')
  local left = before - redis.call('XTRIM', KEYS[1], 'MINID', ms .. '-' .. string.format('%.0f', last + 1))
  -- Of the bytes as many go as of the entries: it is a bound, and an empty journal has none.
  local bytes = left == 0 and 0 or math.floor(tonumber(state[5] or '0') * left / before)
  redis.call('HSET', KEYS[2], 'journaled', ARGV[3], 'journal_bytes', bytes)
end
local answer = {tonumber(state[2] or '0'), state[3] == '+' and 1 or 0, tonumber(state[4] or '0')}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entry[1], entry[2][1], entry[2][2]
end
return answer
