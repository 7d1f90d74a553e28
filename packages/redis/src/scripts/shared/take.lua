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
