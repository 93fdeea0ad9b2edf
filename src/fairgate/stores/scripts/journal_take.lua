#!lua flags=no-writes,allow-oom
-- The oldest entries of a line's journal, for the way to Kafka.
-- KEYS 1 journal (stream) 2 state (hash)
-- ARGV 1 fence 2 how many entries
-- → {era, 1 where the journal has a gap, epoch s of the last snapshot, then id, kind, text, …}
local state = redis.call('HMGET', KEYS[2], 'fence', 'era', 'journal_last', 'snapshot_at')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local answer = {tonumber(state[2] or '0'), state[3] == '+' and 1 or 0, tonumber(state[4] or '0')}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entry[1], entry[2][1], entry[2][2]
end
return answer
