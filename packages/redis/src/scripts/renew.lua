-- Renews the lease if the token holds it; never creates one.
--
-- KEYS  1 lock
-- ARGV  1 token  2 lease in ms, 0 = without end  3 "extend", "atLeast" or "add"
-- Reply "renewed REMAINING": the lease in ms, -1 = without end
--       "stolen" or "vanished"
local record = redis.call("GET", KEYS[1])
if not record then return "vanished" end
if string.match(record, "^%d+ (%S+) ") ~= ARGV[1] then return "stolen" end

local lease = tonumber(ARGV[2])
local left = redis.call("PTTL", KEYS[1])
if lease == 0 or (left == -1 and ARGV[3] ~= "extend") then
  redis.call("PERSIST", KEYS[1])
  return "renewed -1"
end
if ARGV[3] == "atLeast" then lease = math.max(left, lease) end
if ARGV[3] == "add" then lease = left + lease end
redis.call("PEXPIRE", KEYS[1], lease)
return "renewed " .. string.format("%.0f", lease)
