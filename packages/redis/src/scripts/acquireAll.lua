-- Grants several locks, or none: none if somebody else holds one of them, or waits for one that is free and can hear of
-- it. Keeps no ticket and hands nothing over.
--
-- KEYS  1 marker, and for each lock: lock, fence, queue
-- ARGV  1 lease in ms, 0 = without end  2 latest server time to grant at, in us  3 holder as text
--       4-7 as the last four of acquire.lua, and for each lock: the token of its owner
-- Reply "granted MICROS", and for each lock " FENCE REMAINING": the server's time in us, the lease in ms, -1 = without end
--       "held MICROS INDEX HOLDER": the first that is in the way, from 1, and who holds it, empty where somebody waits
--       "late MICROS": nothing was done
--       "closed MICROS UNTIL": the store has forgotten locks and grants none until then
local function wrong(what)
  return redis.error_reply("WRONGTYPE The " .. what .. " of this lock holds something that effect-lock did not write")
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local micros = string.format("%.0f", now)
local lease, text = ARGV[1], ARGV[3]
local mode, run, guard, known = unpack(ARGV, 4, 7)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than `last`.
local function gate(key, last)
  if mode == "off" then return 0 end
  local marker = redis.call("GET", key)
  local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
  if not marked then
    return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
  end
  -- Who may be sent a second time, to another server, does not say what it took the first one for.
  if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
  closed = tonumber(closed)
  if marked ~= run then
    closed = marker and last + guard or mode == "any" and now + guard or 0
  end
  closed = math.max(closed, tonumber(known))
  local due = run .. " " .. string.format("%.0f", closed)
  return closed, due ~= marker and due
end
-- <<< shared/gate.lua
if not (now <= tonumber(ARGV[2])) then return "late " .. micros end

-- Everything is read before anything is written, so that a key of a wrong type changes nothing.
local held, due = {}, {}
for i = 1, (#KEYS - 1) / 3 do
  local token = ARGV[7 + i]
  local record = redis.call("GET", KEYS[3 * i - 1])
  if record then
    local fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
    if not owner then return wrong("key") end
    -- Of a lock that was revoked, the holder is written behind the time at which it is taken away.
    if owner ~= token then return table.concat({"held", micros, i, (string.gsub(holder, "^@%d+ ", ""))}, " ") end
    held[i] = fence
  else
    for _, entry in ipairs(redis.call("LRANGE", KEYS[3 * i + 1], 0, -1)) do
      local waiter, expires, channel = string.match(entry, "^(%S+) (%d+) %d+ (%S+) .*$")
      if not waiter then return wrong("queue") end
      if waiter ~= token and tonumber(expires) > now and redis.call("PUBSUB", "NUMSUB", channel)[2] > 0 then
        return table.concat({"held", micros, i, ""}, " ")
      end
    end
    local last = tonumber(string.match(redis.call("GET", KEYS[3 * i]) or "0", "^%d+$"))
    if not last or last >= 9007199254740991 then return wrong("fence") end
    due[i] = string.format("%.0f", math.max(last + 1, now))
  end
end

local reply = {"granted", micros}
if next(due) then
  local closed, marker = gate(KEYS[1], now)
  if not closed then return marker end
  if marker then redis.call("SET", KEYS[1], marker) end
  if closed > now then return "closed " .. micros .. " " .. string.format("%.0f", closed) end
end
for i = 1, (#KEYS - 1) / 3 do
  if due[i] then
    -- The fence outlives the lock for a day, in case the server's clock is set back.
    redis.call("SET", KEYS[3 * i], due[i], "PX", 86400000)
    if lease == "0" then
      redis.call("SET", KEYS[3 * i - 1], due[i] .. " " .. ARGV[7 + i] .. " " .. text)
    else
      redis.call("SET", KEYS[3 * i - 1], due[i] .. " " .. ARGV[7 + i] .. " " .. text, "PX", lease)
    end
  end
  reply[#reply + 1] = due[i] or held[i]
  reply[#reply + 1] = due[i] and (lease == "0" and "-1" or lease) or redis.call("PTTL", KEYS[3 * i - 1])
end
return table.concat(reply, " ")
