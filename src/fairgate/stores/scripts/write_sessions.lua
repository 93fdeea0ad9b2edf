-- Write many sessions at once. Repeating it changes nothing.
-- KEYS i session:<hash>
-- ARGV 2i-1 user id 2i seconds to live
-- → how many
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'user', ARGV[2 * i - 1])
  redis.call('EXPIRE', key, ARGV[2 * i])
end
return #KEYS
