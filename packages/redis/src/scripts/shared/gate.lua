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
