#!lua flags=allow-oom
-- The owner of the lease takes the line over: its epoch, its fence, its settings.
-- KEYS 1 state (hash) 2 sequence counter 3 line (ZSET) 4 claims (ZSET)
-- ARGV 1 fence 2 epoch 3 1: begin a new generation (the counter starts again) 4 settings version 5… field, value, …
-- → {waiting, claims, recovering}
local state = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'fence', 'recovering')
if state[1] and tonumber(state[1]) > tonumber(ARGV[2]) then
  return redis.error_reply('FGEPOCH the lease has another owner')
end
if ARGV[3] == '1' and state[3] ~= ARGV[1] then redis.call('SET', KEYS[2], '0') end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'epoch', ARGV[2])
if not state[2] or tonumber(state[2]) <= tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'version', ARGV[4])
  for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return {redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]), state[4] == '1' and 1 or 0}
