-- The value if it is newer than the one that the caller has seen; else as acquire.lua.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker  5 value
-- ARGV  1-10 as acquire.lua  11 version that was seen, 0 = any value will do  12-13 as the last two of acquire.lua
-- Reply the value, as it is stored
--       else as acquire.lua, where "granted ..." ends with the version of the value that is there, 0 = none
-- >>> shared/value.lua (written by scripts/codegen.mjs)
-- A value is "version:bytes". As a reader sees it: anything but 16 digits, no greater than a number can be counted on, is
-- no value, and its version 0.
local function versionOf(head)
  local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
  return version > 9007199254740990 and 0 or version
end

-- What a key of text holds. One of another type holds no value either; the next write replaces it.
local function textOf(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= "table" then return reply or "" end
  return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end

-- Replaces a value of the given version; 0 ms = without end. Returns the new version.
local function write(key, old, bytes, millis)
  local time = redis.call("TIME")
  local version = string.format("%016.0f", math.max(old + 1, time[1] * 1000000 + time[2]))
  if millis == "0" then
    redis.call("SET", key, version .. ":" .. bytes)
  else
    redis.call("SET", key, version .. ":" .. bytes, "PX", millis)
  end
  return version
end
-- <<< shared/value.lua
local value = textOf("GET", KEYS[5])
local version = versionOf(string.sub(value, 1, 17))
if version > tonumber(ARGV[11]) then return value end
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
local mode, run, guard, known, _, stealAfter, notices = unpack(ARGV, 7)
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
-- >>> shared/take.lua (written by scripts/codegen.mjs)
-- Grants the lock to the caller, or hands it to whoever is first, or keeps a ticket. Returns the reply. A fence is the
-- time of its grant; of a clock that was set back it is later, and the lock younger than it is.
local function take()
  local me, lease, text = ARGV[1], ARGV[2], ARGV[6]
  local micros = string.format("%.0f", now)
  if not (now <= tonumber(ARGV[3])) then return "late " .. micros end
  if owner == me then return "granted " .. micros .. " " .. fence .. " " .. redis.call("PTTL", KEYS[1]) end

  local mine
  for _, ticket in ipairs(waiting) do
    if ticket.token == me then mine = ticket end
  end
  local held = owner and math.max(now - fence, 0)
  local robbed = owner and stealAfter and held >= tonumber(stealAfter) and owner
  if not owner or robbed then
    local closed, due = gate(KEYS[4], now)
    if not closed then return due end
    if due then redis.call("SET", KEYS[4], due) end
    if closed > now then return "closed " .. micros .. " " .. string.format("%.0f", closed) end
    if #queue == 0 then
      grant(me, lease, text)
    else
      if mine then
        mine.lease, mine.holder = lease, text
      else
        waiting[#waiting + 1] = {token = me, lease = lease, holder = text}
      end
      handOver(me)
    end
    held = 0
    if robbed then redis.call("PUBLISH", notices, robbed .. " Stolen") end
    if owner == me then
      return "granted " .. micros .. " " .. fence .. " " .. (lease == "0" and "-1" or lease)
    end
  end

  local ahead = 0
  for _, ticket in ipairs(waiting) do
    if ticket.token == me then break end
    if ticket.token ~= owner then ahead = ahead + 1 end
  end
  local ticketMillis = tonumber(ARGV[4])
  if ticketMillis > 0 then
    local expires = string.format("%.0f", now + ticketMillis * 1000)
    local entry = table.concat({me, expires, lease, ARGV[5], text}, " ")
    if mine then
      redis.call("LSET", KEYS[3], redis.call("LPOS", KEYS[3], mine.entry), entry)
    else
      redis.call("RPUSH", KEYS[3], entry)
    end
    dropDead()
    -- The queue lasts as long as its longest ticket, so that nothing is left when everybody is gone.
    redis.call("PEXPIRE", KEYS[3], math.max(ticketMillis, redis.call("PTTL", KEYS[3])))
  end
  local heldMillis = string.format("%.0f", math.floor(held / 1000))
  return table.concat({"contended", micros, redis.call("PTTL", KEYS[1]), ahead, heldMillis, holder}, " ")
end
-- <<< shared/take.lua
local reply = take()
if type(reply) == "string" and owner == ARGV[1] then return reply .. " " .. string.format("%.0f", version) end
return reply
