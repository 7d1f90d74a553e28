// Written by scripts/codegen.mjs from src/scripts/*.lua; do not edit.

/** The text of a Lua script, and the name under which Redis keeps it. */
export interface Script {
  readonly sha1: string
  readonly lua: string
}

export const acquire: Script = {
  sha1: "9be2ee83a45f24eb6eeb1f4df9889c5e9d0aa48a",
  lua: `-- effect-lock acquire.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
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
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known, stealAfter, notices = unpack(ARGV, 7)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
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
redis.call("PEXPIRE", KEYS[3], math.max(ticketMillis, redis.call("PTTL", KEYS[3])))
end
local heldMillis = string.format("%.0f", math.floor(held / 1000))
return table.concat({"contended", micros, redis.call("PTTL", KEYS[1]), ahead, heldMillis, holder}, " ")
end
return take()`
}

export const acquireAll: Script = {
  sha1: "66d8434100377d779a15f5168817ac6d3ad55a96",
  lua: `-- effect-lock acquireAll.lua
local function wrong(what)
return redis.error_reply("WRONGTYPE The " .. what .. " of this lock holds something that effect-lock did not write")
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local micros = string.format("%.0f", now)
local lease, text = ARGV[1], ARGV[3]
local mode, run, guard, known = unpack(ARGV, 4, 7)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
if not (now <= tonumber(ARGV[2])) then return "late " .. micros end
local held, due = {}, {}
for i = 1, (#KEYS - 1) / 3 do
local token = ARGV[7 + i]
local record = redis.call("GET", KEYS[3 * i - 1])
if record then
local fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then return wrong("key") end
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
return table.concat(reply, " ")`
}

export const announce: Script = {
  sha1: "69e589b210d0a87a8c7746207205988ff4829b6c",
  lua: `-- effect-lock announce.lua
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " " .. ARGV[3])
return "announced"`
}

export const compareAndRemove: Script = {
  sha1: "a617e6bd42a4890e5ebb031420fe1c5700777c86",
  lua: `-- effect-lock compareAndRemove.lua
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
if versionOf(textOf("GETRANGE", KEYS[1], 0, 16)) ~= tonumber(ARGV[1]) then return "0" end
redis.call("DEL", KEYS[1])
return "1"`
}

export const compareAndSet: Script = {
  sha1: "95519f488a7a2625c05439308153e0f5b6acbd0d",
  lua: `-- effect-lock compareAndSet.lua
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
local current = versionOf(textOf("GETRANGE", KEYS[1], 0, 16))
if current ~= tonumber(ARGV[3]) then return "0" end
return write(KEYS[1], current, ARGV[1], ARGV[2])`
}

export const connect: Script = {
  sha1: "37e4005b8e22384f5bbb1560c57de236b8bef555",
  lua: `-- effect-lock connect.lua
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local mode, run, guard, known = unpack(ARGV, 3)
local micros = string.format("%.0f", now)
local info = mode ~= "off" and redis.pcall("INFO", "server")
run = type(info) == "string" and string.match(info, "run_id:(%w+)")
if not run then return micros .. " - 0" end
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
local started = now - (tonumber(string.match(info, "uptime_in_seconds:(%d+)")) - 1) * 1000000
local isAlone = string.find(redis.call("INFO", "replication"), "master_replid2:0+\\r")
if ARGV[1] ~= "-" and ARGV[1] ~= run then
known = math.min(now, math.max(started, now - ARGV[2] * 1000)) + guard
end
local closed, due = gate(KEYS[1], isAlone and math.min(now, started) or now)
if not closed then return due end
if due and closed > 0 and redis.pcall("SET", KEYS[1], due).err then closed = tonumber(known) end
return micros .. " " .. run .. " " .. string.format("%.0f", closed)`
}

export const getOrAcquire: Script = {
  sha1: "d564bf3836e288847d0b65a36cfd186b84f5f47f",
  lua: `-- effect-lock getOrAcquire.lua
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
local value = textOf("GET", KEYS[5])
local version = versionOf(string.sub(value, 1, 17))
if version > tonumber(ARGV[11]) then return value end
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known, _, stealAfter, notices = unpack(ARGV, 7)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
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
redis.call("PEXPIRE", KEYS[3], math.max(ticketMillis, redis.call("PTTL", KEYS[3])))
end
local heldMillis = string.format("%.0f", math.floor(held / 1000))
return table.concat({"contended", micros, redis.call("PTTL", KEYS[1]), ahead, heldMillis, holder}, " ")
end
local reply = take()
if type(reply) == "string" and owner == ARGV[1] then return reply .. " " .. string.format("%.0f", version) end
return reply`
}

export const inspect: Script = {
  sha1: "2f45eb5a78c2a1aff919717bfbeb93bb8bbdaa29",
  lua: `-- effect-lock inspect.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
if not owner then return "free" end
local left = revoked and string.format("%.0f", math.max(math.floor((revoked - now) / 1000), 0)) or "-"
return table.concat({"held", owner, fence, redis.call("PTTL", KEYS[1]), #waiting, left, holder}, " ")`
}

export const invalidate: Script = {
  sha1: "1042ed48e3d28ade39c5365fec119eb83e0ac06b",
  lua: `-- effect-lock invalidate.lua
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
local current = versionOf(textOf("GETRANGE", KEYS[2], 0, 16))
if redis.call("GET", KEYS[1]) then
write(KEYS[2], current, ARGV[1], "86400000")
else
redis.call("DEL", KEYS[2])
end
if ARGV[2] ~= "" then redis.call("PUBLISH", ARGV[2], "invalidated " .. ARGV[3]) end
return current > 0 and "1" or "0"`
}

export const notify: Script = {
  sha1: "8e4c9bdbac11629aea5a500836511a3bb06e7bc4",
  lua: `-- effect-lock notify.lua
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " Vanished")
return "notified"`
}

export const release: Script = {
  sha1: "24ce489f4e54c1059684b233484b848adc61462a",
  lua: `-- effect-lock release.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
if not owner then return "vanished" end
if owner ~= ARGV[1] then return "stolen" end
if #queue == 0 then
redis.call("DEL", KEYS[1])
return "released"
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known = unpack(ARGV, 2, 5)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
local handed
if (gate(KEYS[4], now) or math.huge) <= now then handed = handOver(nil, ARGV[6]) else free() end
return handed and "released " .. handed or "released"`
}

export const renew: Script = {
  sha1: "b0db3399a845ac487761c193df3a718944ac82f1",
  lua: `-- effect-lock renew.lua
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
return "renewed " .. string.format("%.0f", lease)`
}

export const revoke: Script = {
  sha1: "d9ea45916aad50963382bad48cf48eef085d83ab",
  lua: `-- effect-lock revoke.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
return "revoked"`
}

export const set: Script = {
  sha1: "2a17b6737b4de77f67a1606bc9e9e75e1e90e963",
  lua: `-- effect-lock set.lua
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
return write(KEYS[1], versionOf(textOf("GETRANGE", KEYS[1], 0, 16)), ARGV[1], ARGV[2])`
}

export const settle: Script = {
  sha1: "03261e94de23e09320743e61233838f64e326a06",
  lua: `-- effect-lock settle.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
if not owner then return "vanished" end
if owner ~= ARGV[1] then return "stolen" end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known = unpack(ARGV, 2)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
local function versionOf(head)
local version = tonumber(#head == 17 and string.match(head, "^(%d+):$") or "0")
return version > 9007199254740990 and 0 or version
end
local function textOf(command, ...)
local reply = redis.pcall(command, ...)
if type(reply) ~= "table" then return reply or "" end
return string.find(reply.err, "WRONGTYPE", 1, true) and "" or redis.call(command, ...)
end
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
local bytes, millis = ARGV[6], ARGV[7]
local current = versionOf(textOf("GETRANGE", KEYS[5], 0, 16))
if current > tonumber(ARGV[8]) then
if (gate(KEYS[4], now) or math.huge) <= now then handOver() else free() end
return "outdated"
end
free()
local version = "0"
if millis ~= "-1" then version = write(KEYS[5], current, bytes, millis) end
if #waiting > 0 then
redis.call("DEL", KEYS[3])
local told = millis ~= "-1" and #bytes > tonumber(ARGV[11]) and "look" or "settled"
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, told, version, KEYS[1]}, " ")
redis.call("PUBLISH", ticket.channel, told == "settled" and message .. "\\n" .. bytes or message)
end
end
if ARGV[9] ~= "" and millis ~= "-1" then redis.call("PUBLISH", ARGV[9], version .. " " .. ARGV[10]) end
return "settled " .. version`
}

export const transfer: Script = {
  sha1: "d2278344fe483d90e163ff2f46d572f12d61df1a",
  lua: `-- effect-lock transfer.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known = unpack(ARGV, 6)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
local micros = string.format("%.0f", now)
if not owner then return "vanished" end
if owner ~= ARGV[2] then
if owner ~= ARGV[1] then return "stolen" end
if not (now <= tonumber(ARGV[4])) then return "late " .. micros end
local closed, due = gate(KEYS[4], now)
if not closed then return due end
if due then redis.call("SET", KEYS[4], due) end
if closed > now then return "closed " .. micros .. " " .. string.format("%.0f", closed) end
local lease, text = ARGV[3], ARGV[5]
if revoked then
local most = math.max(math.floor((revoked - now) / 1000), 1)
lease = string.format("%.0f", lease == "0" and most or math.min(tonumber(lease), most))
text = string.format("@%.0f ", revoked) .. text
end
grant(ARGV[2], lease, text)
end
return "granted " .. micros .. " " .. fence .. " " .. redis.call("PTTL", KEYS[1])`
}

export const withdraw: Script = {
  sha1: "4f68de97d47138140d045c66e40c67954a0262f4",
  lua: `-- effect-lock withdraw.lua
local record = redis.call("GET", KEYS[1])
local queue = redis.call("LRANGE", KEYS[3], 0, -1)
local fence, owner, holder, revoked
if record then
fence, owner, holder = string.match(record, "^(%d+) (%S+) (.*)$")
if not owner then
return redis.error_reply("WRONGTYPE The key of this lock holds something that effect-lock did not write")
end
local at, text = string.match(holder, "^@(%d+) (.*)$")
if at then revoked, holder = tonumber(at), text end
end
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local lastFence = tonumber(string.match(redis.call("GET", KEYS[2]) or "0", "^%d+$"))
if not lastFence or lastFence >= 9007199254740991 then
return redis.error_reply("WRONGTYPE The fence of this lock holds something that effect-lock did not write")
end
local nextFence = string.format("%.0f", math.max(lastFence + 1, now))
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
local function dropDead()
for _, entry in ipairs(dead) do redis.call("LREM", KEYS[3], 1, entry) end
end
local function grant(token, lease, text)
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
local function handOver(me, near)
free()
for _, ticket in ipairs(waiting) do
local message = table.concat({ticket.token, nextFence, ticket.lease, string.format("%.0f", now), KEYS[1]}, " ")
local isNear = near and ticket.channel == near
local isHeard = ticket.token == me or isNear or
redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0
if isHeard then
if ticket.entry then redis.call("LREM", KEYS[3], 1, ticket.entry) end
grant(ticket.token, ticket.lease, ticket.holder)
return isNear and message
end
end
end
local mode, run, guard, known = unpack(ARGV, 2)
local function gate(key, last)
if mode == "off" then return 0 end
local marker = redis.call("GET", key)
local marked, closed = string.match(marker or "- 0", "^(%S+) (%d+)$")
if not marked then
return nil, redis.error_reply("WRONGTYPE The marker of this prefix holds something that effect-lock did not write")
end
if run == "-" then run = string.match(redis.call("INFO", "server"), "run_id:(%w+)") end
closed = tonumber(closed)
if marked ~= run then
closed = marker and last + guard or mode == "any" and now + guard or 0
end
closed = math.max(closed, tonumber(known))
local due = run .. " " .. string.format("%.0f", closed)
return closed, due ~= marker and due
end
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
return "withdrawn"`
}
