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
