#!lua flags=allow-oom
-- Kafka has the journal up to this entry: forget it here, and say so. A repeat is harmless.
-- KEYS 1 journal (stream) 2 state (hash)
-- ARGV 1 fence 2 id of the last entry 3 channel to say so on 4 event id
-- → how many entries remain
local state = redis.call('HMGET', KEYS[2], 'fence', 'journal_bytes')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local bytes, ids = tonumber(state[2] or '0'), {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', ARGV[2])) do
  local text = entry[2][2]
  bytes = bytes - #string.sub(text, string.find(text, ' ', 1, true) + 1) - 32
  ids[#ids + 1] = entry[1]
end
if #ids > 0 then redis.call('XDEL', KEYS[1], unpack(ids)) end
local left = redis.call('XLEN', KEYS[1])
if left == 0 then bytes = 0 end
redis.call('HSET', KEYS[2], 'journaled', ARGV[2], 'journal_bytes', math.max(bytes, 0))
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[2] .. ' ' .. ARGV[1])
return left
