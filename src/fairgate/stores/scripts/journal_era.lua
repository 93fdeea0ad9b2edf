#!lua flags=allow-oom
-- Begin a new era of the journal: what stands before it is told by a snapshot that follows. Ends a gap.
-- KEYS 1 journal (stream) 2 state (hash) 3 sequence counter
-- ARGV 1 fence 2 the era that ends 3 first sequence of the generation 4 journal channel 5 event id
-- → the era that is now. A repeat is harmless: only the era that was named ends.
local state = redis.call('HMGET', KEYS[2], 'fence', 'era')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
local era = tonumber(state[2] or '0')
if era ~= tonumber(ARGV[2]) then return era end
local given = tonumber(redis.call('GET', KEYS[3]) or '0')
local text = string.format('%.0f', tonumber(ARGV[3]) + given)
local id = redis.call('XADD', KEYS[1], '*', 'e', string.format('%d', era + 1) .. ' ' .. text)
redis.call('HSET', KEYS[2], 'era', era + 1, 'journal_last', id, 'snapshot_at', redis.call('TIME')[1])
redis.call('HINCRBY', KEYS[2], 'journal_bytes', #text + 32)
redis.call('PUBLISH', ARGV[4], ARGV[5])
return era + 1
