#!lua flags=allow-oom
-- Forget the entries of a line's journal that Kafka has by now, and read the oldest of the others for the way there.
-- KEYS 1 journal (stream) 2 state (hash)
-- ARGV 1 fence 2 how many entries 3 id of the last entry that Kafka has (empty: none since the last call)
-- → {era, 1 where the journal has a gap, epoch s of the last snapshot, then id, kind, text, …}
-- A repeat is harmless: what is forgotten already is not there.
local state = redis.call('HMGET', KEYS[2], 'fence', 'era', 'journal_last', 'snapshot_at', 'journal_bytes')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if ARGV[3] ~= '' then
  local bytes, ids = tonumber(state[5] or '0'), {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', ARGV[3])) do
    local text = entry[2][2]
    bytes = bytes - #string.sub(text, string.find(text, ' ', 1, true) + 1) - 32
    ids[#ids + 1] = entry[1]
  end
  if #ids > 0 then redis.call('XDEL', KEYS[1], unpack(ids)) end
  if redis.call('XLEN', KEYS[1]) == 0 then bytes = 0 end
  redis.call('HSET', KEYS[2], 'journaled', ARGV[3], 'journal_bytes', math.max(bytes, 0))
end
local answer = {tonumber(state[2] or '0'), state[3] == '+' and 1 or 0, tonumber(state[4] or '0')}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entry[1], entry[2][1], entry[2][2]
end
return answer
