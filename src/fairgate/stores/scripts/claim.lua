#!lua flags=allow-oom
-- Move waiters from the head of the line to the claims. Claims left over from before come first, in order.
-- KEYS 1 line (ZSET) 2 claims (ZSET) 3 claimed at (hash: first sequence of what was claimed together → epoch ms)
--      4 state (hash)
-- ARGV 1 fence 2 epoch of the lease 3 how many (1 to 2,000)
-- → {waiting after, claims after, {user, sequence, … in order}}
-- A repeat is harmless: it returns the same claims again. Nobody leaves the line before the claim is written.
local state = redis.call('HMGET', KEYS[4], 'fence', 'epoch')
if state[1] ~= ARGV[1] then return redis.error_reply('FGSTALE the line is not prepared here') end
if state[2] ~= ARGV[2] then return redis.error_reply('FGEPOCH the lease has another owner') end
local want, before = tonumber(ARGV[3]), redis.call('ZCARD', KEYS[2])
local head = {}
if want > before then
  head = redis.call('ZRANGE', KEYS[1], 0, want - before - 1, 'WITHSCORES')
  if #head > 0 then
    local time = redis.call('TIME')
    local scored = {}
    for i = 1, #head, 2 do scored[i], scored[i + 1] = head[i + 1], head[i] end
    redis.call('HSET', KEYS[3], head[2], time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000)))
    redis.call('ZADD', KEYS[2], unpack(scored))
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #head / 2 - 1)
  end
end
local claims = before == 0 and head or redis.call('ZRANGE', KEYS[2], 0, want - 1, 'WITHSCORES')
return {redis.call('ZCARD', KEYS[1]), before + #head / 2, claims}
