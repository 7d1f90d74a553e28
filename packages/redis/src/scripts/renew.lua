-- Renews the lease if the token holds it; never creates one. Of a lock that was revoked, up to when it is taken away.
--
-- KEYS  1 lock
-- ARGV  1 token  2 lease in ms, 0 = without end  3 "extend", "atLeast" or "add"
-- Reply "renewed REMAINING": the lease in ms, -1 = without end
--       "renewed REMAINING REVOKED": and how long until it is taken away, in ms
--       "stolen" or "vanished"
local record = redis.call("GET", KEYS[1])
if not record then return "vanished" end
if string.match(record, "^%d+ (%S+) ") ~= ARGV[1] then return "stolen" end
local revoked = string.match(record, "^%d+ %S+ @(%d+) ")
local lease = tonumber(ARGV[2])
local left = redis.call("PTTL", KEYS[1])
if lease == 0 or (left == -1 and ARGV[3] ~= "extend") then
  lease = math.huge
elseif ARGV[3] == "atLeast" then
  lease = math.max(left, lease)
elseif ARGV[3] == "add" then
  lease = left + lease
end
if revoked then
  local clock = redis.call("TIME")
  local most = math.max(math.floor((revoked - clock[1] * 1000000 - clock[2]) / 1000), 1)
  lease = math.min(lease, most)
  redis.call("PEXPIRE", KEYS[1], string.format("%.0f", lease))
  return string.format("renewed %.0f %.0f", lease, most)
end
if lease == math.huge then
  redis.call("PERSIST", KEYS[1])
  return "renewed -1"
end
redis.call("PEXPIRE", KEYS[1], string.format("%.0f", lease))
return "renewed " .. string.format("%.0f", lease)
