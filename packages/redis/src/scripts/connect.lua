-- Says which run of the server answers, and closes the gate if that run has forgotten locks.
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
-- Nobody believes in a grant of a former run that is later than the start of this one, known by the uptime in whole
-- seconds; unless this server was a replica of the former one, which shows in its second replication id.
local started = now - (tonumber(string.match(info, "uptime_in_seconds:(%d+)")) - 1) * 1000000
local isAlone = string.find(redis.call("INFO", "replication"), "master_replid2:0+\r")
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
