-- Which of these sessions are there; those live on from now. And the generation of the store that says so.
-- KEYS 1 sessions:generation, then i+1 session:<hash>
-- ARGV i seconds to live
-- → {1 or 0 each, then the generation, or nil in an empty store}
local answer = {}
for i = 2, #KEYS do
  answer[i - 1] = redis.call('EXPIRE', KEYS[i], ARGV[i - 1])
end
answer[#KEYS] = redis.call('GET', KEYS[1])
return answer
