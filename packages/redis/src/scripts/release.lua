-- Frees the lock if the token holds it, and hands it to the first live ticket that can hear of it, unless the store
-- has forgotten locks.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker
-- ARGV  1 token  2-5 as the last four of acquire.lua  6 the caller's channel
-- Reply "released", "stolen" or "vanished"
--       "released TOKEN FENCE LEASE MICROS KEY": the next waits on that channel, and is told by nothing else
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
if not owner then return "vanished" end
if owner ~= ARGV[1] then return "stolen" end
if #queue == 0 then
  redis.call("DEL", KEYS[1])
  return "released"
end
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
-- >>> shared/hand-over.lua (written by scripts/codegen.mjs)
local function dropDead()
  for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end

local function grant(token, lease, text)
  -- The fence outlives the lock for a day, in case the server's clock is set back.
  redis.call("SET", KEYS[2], nextFence, "PX", 86400000)
  if lease == "0" then
    redis.call("SET", KEYS[1], nextFence .. " " .. token .. " " .. text)
  else
    redis.call("SET", KEYS[1], nextFence .. " " .. token .. " " .. text, "PX", lease)
  end
  fence, owner, holder = nextFence, token, text
end

local function free()
  redis.call("DEL", KEYS[1])
  dropDead()
  owner = nil
end

-- Frees the lock and, in the same step, gives it to the first live ticket whose process hears of it. A ticket that
-- nobody hears keeps its place, and its owner looks by itself. `me` is the caller's token, and `near` its channel:
-- those need no message. Returns what one that is near is told.
local function handOver(me, near)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    local isNear = near and ticket.channel == near
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or isNear or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      grant(ticket.token, ticket.lease, ticket.holder)
      return isNear and message
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known = unpack(ARGV, 2, 5)
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
local handed
if (gate(KEYS[4], now) or math.huge) <= now then handed = handOver(nil, ARGV[6]) else free() end
return handed and "released " .. handed or "released"
