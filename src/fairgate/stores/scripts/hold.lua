#!lua flags=allow-oom
-- A recovery begins: from here nobody joins, leaves or is claimed in this line until it is opened again.
-- KEYS 1 state (hash)
-- ARGV 1 epoch of the lease
-- → {era of the journal, how many have left}
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then
  return redis.error_reply('FGEPOCH the lease has another owner')
end
redis.call('HDEL', KEYS[1], 'fence')
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'era', 'left')
return {tonumber(state[1] or '0'), tonumber(state[2] or '0')}
