local clock = redis.call("TIME")
local stored = redis.call("GETRANGE", KEYS[1], 0, 16)
local current = tonumber(string.match(stored, "^(%d+):$") or "0")
local version = string.format("%016.0f", math.max(current + 1, clock[1] * 1000000 + clock[2]))
