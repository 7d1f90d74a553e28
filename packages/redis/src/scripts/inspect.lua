-- Who holds the lock. Writes nothing.
--
-- KEYS  1 lock  2 fence  3 queue
-- Reply "held TOKEN FENCE REMAINING TICKETS REVOKED HOLDER": the lease in ms, -1 = without end, the live tickets, how
--       long until it is taken away in ms, "-" = it is not revoked
--       "free"
-- >>> shared/record.lua (written by scripts/codegen.mjs)
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
-- >>> shared/queue.lua (written by scripts/codegen.mjs)
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
if not owner then return "free" end
local left = revoked and string.format("%.0f", math.max(math.floor((revoked - now) / 1000), 0)) or "-"
return table.concat({"held", owner, fence, redis.call("PTTL", KEYS[1]), #waiting, left, holder}, " ")
