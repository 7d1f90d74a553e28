-- Notes in the record when the lock is taken away from the token that holds it, shortens the lease so that it ends by
-- then, and tells its owner and those who wait. Repeated, the earliest time counts.
--
-- KEYS  1 lock  2 fence  3 queue
-- ARGV  1 token  2 how long its owner may go on, in ms  3 channel to tell it on
-- Reply "revoked" or "free"
-- >>> shared/record.lua
-- Everything is read before anything is written, so that a key of a wrong type changes nothing.
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
  fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
  if not owner then
    return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
  end
  -- Of a lock that was revoked, the holder is written behind the time at which it is taken away, in us.
  local at, text = string.match(holder, "^@(%d+) (.*)$")
  if at then revoked, holder = tonumber(at), text end
end
-- <<< shared/record.lua
-- >>> shared/queue.lua
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
  return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
-- A ticket is "token expires lease channel holder", its times in us and ms.
local waiting, dead = {}, {}
for _, entry in ipairs(queue) do
  local token, expires, lease, channel, text = string.match(entry, "^(%S+) (%d+) (%d+) (%S+) (.*)$")
  if not token or #lease > 14 then
    return redis.error_reply("WRONGTYPE The queue of this lock holds something that effect-lock did not write")
  end
  if tonumber(expires) > now then
    waiting[#waiting + 1] = {token = token, lease = lease, channel = channel, holder = text, entry = entry}
  else
    dead[#dead + 1] = entry
  end
end
-- <<< shared/queue.lua
if owner ~= ARGV[1] then return "free" end
local at = math.min(now + ARGV[2] * 1000, revoked or math.huge)
local lease = math.max(math.floor((at - now) / 1000), 1)
local left = redis.call("PTTL", KEYS[1])
if left > 0 then lease = math.min(left, lease) end
local mark = string.format(" @%.0f ", at)
redis.call("SET", KEYS[1], fence .. " " .. owner .. mark .. holder, "PX", string.format("%.0f", lease))
redis.call("PUBLISH", ARGV[3], owner .. " Revoked")
for _, ticket in ipairs(waiting) do
  redis.call("PUBLISH", ticket.channel, table.concat({ticket.token, "look", "0", KEYS[1]}, " "))
end
return "revoked"
