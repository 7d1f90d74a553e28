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
