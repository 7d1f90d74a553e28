// Written by scripts/codegen.mjs from src/scripts/*.lua; do not edit.

/** The text of a Lua script, and the name under which Redis keeps it. */
export interface Script {
  readonly sha1: string
  readonly lua: string
}

export const acquire: Script = {
  sha1: "98e9b30f10329f1b78a642c87959bb35ba11f732",
  lua: `-- Grants the lock if it is free and no live ticket that can hear of it stands before the caller's; else hands it to
-- that ticket; else, if it is held, keeps a ticket for the caller if asked to. A lock that may be stolen is as good as
-- free; its former owner is told.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker
-- ARGV  1 token  2 lease in ms, 0 = without end  3 latest server time to grant at, in us
--       4 ticket in ms, 0 = do not queue  5 channel to wake  6 holder as text
--       7 what counts as forgetting: "restart", "any", "off"  8 run of the server, "-" = ask it
--       9 guard time in us  10 until when nothing is granted, as the caller knows it, in us
--       11 how old a lock may be stolen, in us, none = never  12 channel to tell its former owner on
-- Reply "granted MICROS FENCE REMAINING": the server's time in us, the lease in ms, -1 = without end
--       "contended MICROS REMAINING AHEAD HELD HOLDER": the live tickets ahead, the age of the lock in ms
--       "late MICROS": nothing was done
--       "closed MICROS UNTIL": the store has forgotten locks and grants none until then
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
-- The common case by itself, because what follows costs a third more: nobody has the lock, nobody waits for it, and the
-- marker says that nothing was forgotten. All that is not quite so is left to the rest, which does the same.
if not record and #queue == 0 and ARGV[2] ~= "0" then
  local last = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
  local isKnown = ARGV[7] == "off" or ARGV[8] ~= "-" and redis.call("GET", KEYS[4]) == ARGV[8] .. " " .. ARGV[10]
  local clock = redis.call("TIME")
  local now = clock[1] * 1000000 + clock[2]
  if last and last < now and isKnown and tonumber(ARGV[10]) <= now and now <= tonumber(ARGV[3]) then
    local micros = string.format("%.0f", now)
    redis.call("SET", KEYS[2], micros, "PX", "86400000")
    redis.call("SET", KEYS[1], micros .. " " .. ARGV[1] .. " " .. ARGV[6], "PX", ARGV[2])
    return "granted " .. micros .. " " .. micros .. " " .. ARGV[2]
  end
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known, stealAfter, notices = unpack(ARGV, 7)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
return take()
`
}

export const acquireAll: Script = {
  sha1: "12efc700bc0b275ff91adce27bca65aa843c71cb",
  lua: `-- Grants several locks, or none: none if somebody else holds one of them, or waits for one that is free and can hear of
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
local mode, run, guard, known = unpack(ARGV, 4)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
`
}

export const announce: Script = {
  sha1: "9e070289fc1df35a4e4e6304121f55a4ca38efe3",
  lua: `-- Tells those who watch that a value has changed whose lock is elsewhere.
--
-- ARGV  1 channel  2 version of the value, or "invalidated"  3 key
-- Reply "announced"
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " " .. ARGV[3])
return "announced"
`
}

export const compareAndRemove: Script = {
  sha1: "6d0a62f8d314d8444d061b8cdcd49bda5cc282be",
  lua: `-- Removes a value if the stored version is the expected one.
--
-- KEYS  1 value
-- ARGV  1 expected version, 0 = no value
-- Reply "1" if it was that version, else "0"
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
if versionOf(redis.call("GETRANGE", KEYS[1], 0, 16)) ~= tonumber(ARGV[1]) then return "0" end
redis.call("DEL", KEYS[1])
return "1"
`
}

export const compareAndSet: Script = {
  sha1: "6c606c778918ce75a8d577d4a534c1feef0e371e",
  lua: `-- Writes a value with a new version if the stored version is the expected one.
--
-- KEYS  1 value
-- ARGV  1 bytes  2 time to live in ms, 0 = without end  3 expected version, 0 = no value
-- Reply the version, or "0" on a conflict
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
local current = versionOf(textOf("GETRANGE", KEYS[1], 0, 16))
if current ~= tonumber(ARGV[3]) then return "0" end
return write(KEYS[1], current, ARGV[1], ARGV[2])
`
}

export const connect: Script = {
  sha1: "fbbbd04da3a0c38df2570c53ee6e1ee1c33f1124",
  lua: `-- Says which run of the server answers, and closes the gate if that run has forgotten locks.
--
-- KEYS  1 marker
-- ARGV  1 run that the caller knew before, "-" = none  2 for how long it has lost that one, in ms
--       3-6 as the last four of acquire.lua
-- Reply "MICROS RUN UNTIL": the server's time in us; "-" where INFO is forbidden or not wanted; until when nothing is
--       granted, in us
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local mode, run, guard, known = unpack(ARGV, 3)
local micros = string.format("%.0f", now)
local info = mode ~= "off" and redis.pcall("INFO", "server")
run = type(info) == "string" and string.match(info, "run_id:(%w+)")
if not run then return micros .. " - 0" end
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
-- Nobody believes in a grant of a former run that is later than the start of this one, known by the uptime in whole
-- seconds; unless this server was a replica of the former one, which shows in its second replication id.
local started = now - (tonumber(string.match(info, "uptime_in_seconds:(%d+)")) - 1) * 1000000
local isAlone = string.find(redis.call("INFO", "replication"), "master_replid2:0+\\r")
if ARGV[1] ~= "-" and ARGV[1] ~= run then
  -- The caller vouches for the time in which it was connected to the former one.
  known = math.min(now, math.max(started, now - ARGV[2] * 1000)) + guard
end
local closed, due = gate(KEYS[1], isAlone and math.min(now, started) or now)
if not closed then return due end
-- Nothing is left behind for those who take no lock. A server that takes no writes, a replica above all, grants nothing
-- anyway, and the first acquire that it could grant finds the same.
if due and closed > 0 and redis.pcall("SET", KEYS[1], due).err then closed = tonumber(known) end
return micros .. " " .. run .. " " .. string.format("%.0f", closed)
`
}

export const getOrAcquire: Script = {
  sha1: "48f454d3e5c54f4155f60051cca98708f89c83cc",
  lua: `-- The value if it is newer than the one that the caller has seen; else as acquire.lua.
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known, _, stealAfter, notices = unpack(ARGV, 7)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
`
}

export const inspect: Script = {
  sha1: "1b99c9dee92092866995ee3420297fb1c5bcc827",
  lua: `-- Who holds the lock. Writes nothing.
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
`
}

export const invalidate: Script = {
  sha1: "3aba32ceaea9fd932406f000be5cfe5d51092fa9",
  lua: `-- Removes a value. While its lock is held, a mark takes its place, so that what is computed now is outdated.
--
-- KEYS  1 lock  2 value
-- ARGV  1 mark  2 channel to announce the change on, "" = none  3 key to announce
-- Reply "1" if there was a value, else "0"
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
local current = versionOf(textOf("GETRANGE", KEYS[2], 0, 16))
if redis.call("GET", KEYS[1]) then
  write(KEYS[2], current, ARGV[1], "86400000")
else
  redis.call("DEL", KEYS[2])
end
if ARGV[2] ~= "" then redis.call("PUBLISH", ARGV[2], "invalidated " .. ARGV[3]) end
return current > 0 and "1" or "0"
`
}

export const notify: Script = {
  sha1: "eae46f365f048b4d05561b7561fd41fd7e15a8f5",
  lua: `-- Tells the owner of a token that its lock was freed by force.
--
-- ARGV  1 channel  2 token
-- Reply "notified"
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " Vanished")
return "notified"
`
}

export const release: Script = {
  sha1: "df295b90f39c1d5e41d02fade264096062c4230f",
  lua: `-- Frees the lock if the token holds it, and hands it to the first live ticket that can hear of it, unless the store
-- has forgotten locks.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker
-- ARGV  1 token  2-5 as the last four of acquire.lua
-- Reply "released", "stolen" or "vanished"
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known = unpack(ARGV, 2)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
if (gate(KEYS[4], now) or math.huge) <= now then handOver() else free() end
return "released"
`
}

export const renew: Script = {
  sha1: "cece1a20c4630343bc2c1f8207fa558c70fa0d5a",
  lua: `-- Renews the lease if the token holds it; never creates one. Of a lock that was revoked, up to when it is taken away.
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
`
}

export const revoke: Script = {
  sha1: "d6d2fb12670a57ee17c5f50bf46a913701b48c15",
  lua: `-- Notes in the record when the lock is taken away from the token that holds it, shortens the lease so that it ends by
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
`
}

export const set: Script = {
  sha1: "d033571ea69790309d181a186c8c539f9852d75f",
  lua: `-- Writes a value with a new version.
--
-- KEYS  1 value
-- ARGV  1 bytes  2 time to live in ms, 0 = without end
-- Reply the version
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
return write(KEYS[1], versionOf(textOf("GETRANGE", KEYS[1], 0, 16)), ARGV[1], ARGV[2])
`
}

export const settle: Script = {
  sha1: "b3145c4f19096be8295d7654bd3806ba17c56afb",
  lua: `-- Ends a lookup: if the token holds the lock, stores the value unless a newer one is there, frees the lock, drops all
-- tickets and tells their owners.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker  5 value
-- ARGV  1 token  2-5 as the last four of acquire.lua
--       6 bytes  7 time to live in ms, 0 = without end, -1 = do not store  8 version that the grant named
--       9 channel to announce the change on, "" = none  10 key to announce  11 longest result to tell, in bytes
-- Reply "settled VERSION": 0 = not stored
--       "outdated": the value is newer; the lock is free, or handed on as by release.lua
--       "stolen" or "vanished"
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known = unpack(ARGV, 2)
-- >>> shared/gate.lua (written by scripts/codegen.mjs)
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
local bytes, millis = ARGV[6], ARGV[7]
local current = versionOf(textOf("GETRANGE", KEYS[5], 0, 16))
if current > tonumber(ARGV[8]) then
  if (gate(KEYS[4], now) or math.huge) <= now then handOver() else free() end
  return "outdated"
end

-- First, so that full memory refuses nothing of what follows.
free()
local version = "0"
if millis ~= "-1" then version = write(KEYS[5], current, bytes, millis) end
if #waiting > 0 then
  redis.call("DEL", KEYS[3])
  -- What is large and stored is better read by whoever still wants it.
  local told = millis ~= "-1" and #bytes > tonumber(ARGV[11]) and "look" or "settled"
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, told, version, KEYS[1]}, " ")
    redis.call("PUBLISH", ticket.channel, told == "settled" and message .. "\\n" .. bytes or message)
  end
end
if ARGV[9] ~= "" and millis ~= "-1" then redis.call("PUBLISH", ARGV[9], version .. " " .. ARGV[10]) end
return "settled " .. version
`
}

export const transfer: Script = {
  sha1: "2a3b4a4cd33d04db62bc50bdc86ca5645177898f",
  lua: `-- Puts another token in the place of the one that holds the lock, as a new grant; never creates a lease. A lock that was
-- revoked is taken away when it would have been.
--
-- KEYS  1 lock  2 fence  3 queue
-- ARGV  1 token  2 new token  3 lease in ms, 0 = without end  4 latest server time to do it, in us  5 holder
-- Reply "granted MICROS FENCE REMAINING": the server's time in us, the lease in ms, -1 = without end; the same if the
--       new token holds it already
--       "late MICROS"
--       "stolen" or "vanished"
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
-- >>> shared/hand-over.lua
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local micros = string.format("%.0f", now)
if not owner then return "vanished" end
if owner ~= ARGV[2] then
  if owner ~= ARGV[1] then return "stolen" end
  if not (now <= tonumber(ARGV[4])) then return "late " .. micros end
  local lease, text = ARGV[3], ARGV[5]
  if revoked then
    local most = math.max(math.floor((revoked - now) / 1000), 1)
    lease = string.format("%.0f", lease == "0" and most or math.min(tonumber(lease), most))
    text = string.format("@%.0f ", revoked) .. text
  end
  grant(ARGV[2], lease, text)
end
return "granted " .. micros .. " " .. fence .. " " .. redis.call("PTTL", KEYS[1])
`
}

export const withdraw: Script = {
  sha1: "402195b0786fc15cb47033fa9c8eca739adfebe6",
  lua: `-- Undoes whatever the token may have: its ticket, and its lock as release does. Where the lock is free, the next
-- waiter is told, because the one that leaves may be the one that was told before; not if the store has forgotten locks.
--
-- KEYS  1 lock  2 fence  3 queue  4 marker
-- ARGV  1 token  2-5 as the last four of acquire.lua
-- Reply "withdrawn"
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
-- nobody hears keeps its place, and its owner looks by itself. \`me\` is the caller's token and needs no message.
local function handOver(me)
  -- Freed first: after one write the server refuses no other (full memory, read-only), so that nobody is told of a
  -- lock which is then not written.
  free()
  for _, ticket in ipairs(waiting) do
    local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
    -- Who listens by a pattern, to everything perhaps, is counted by PUBLISH but is not the waiter.
    local isHeard = ticket.token == me or
      redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
    if isHeard then
      if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
      return grant(ticket.token, ticket.lease, ticket.holder)
    end
  end
end
-- <<< shared/hand-over.lua
local mode, run, guard, known = unpack(ARGV, 2)
-- >>> shared/gate.lua
-- Until when, in server time, nothing is granted because holders of before may still believe in locks that the store
-- has forgotten; 0 = nothing of the kind. And the marker to write, if it is to be another. The marker, "run until", says
-- for which run of the server it was written: a snapshot, or a replica, brings that of another run along, which granted
-- nothing later than \`last\`.
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
local isOpen = #waiting > 0 and (gate(KEYS[4], now) or math.huge) <= now
for i, ticket in ipairs(waiting) do
  if ticket.token == ARGV[1] then
    redis.call("LREM", KEYS[3], 1, ticket.entry)
    table.remove(waiting, i)
    break
  end
end
if owner == ARGV[1] or (not owner and #waiting > 0) then
  if isOpen then handOver() else free() end
end
return "withdrawn"
`
}
