#!lua flags=allow-oom
-- A recovery ends: the line is whole again. The claims are back in it; a new era of the journal begins.
-- KEYS 1 state (hash) 2 sequence counter 3 claims (ZSET) 4 claimed at (hash) 5 journal (stream)
-- ARGV 1 fence 2 epoch of the lease 3 the new era 4 the highest sequence before it 5 journal channel 6 event id
--      7… field, value, … of the state
local state = redis.call('HMGET', KEYS[1], 'epoch', 'fence')
if state[1] ~= ARGV[2] or (state[2] and state[2] ~= ARGV[1]) then
  return redis.error_reply('FGEPOCH the lease has another owner')
end
if state[2] then return 0 end
redis.call('SET', KEYS[2], '0')
redis.call('DEL', KEYS[3], KEYS[4])
local id = redis.call('XADD', KEYS[5], '*', 'e', ARGV[3] .. ' ' .. ARGV[4])
redis.call('HSET', KEYS[1], 'era', ARGV[3], 'journal_last', id, 'snapshot_at', redis.call('TIME')[1], 'recovering', '1',
  'restored', '0', 'held', '0', unpack(ARGV, 7))
redis.call('HINCRBY', KEYS[1], 'journal_bytes', #ARGV[4] + 32)
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
