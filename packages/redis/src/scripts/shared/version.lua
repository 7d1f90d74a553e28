local clock = redis.call("TIME")
local stored = redis.call("GETRANGE", KEYS[1], 0, 16)
-- As a reader sees it: anything but 16 digits, no greater than a number can be counted on, is no value.
local current = tonumber(#stored == 17 and string.match(stored, "^(%d+):$") or "0")
if current > 9007199254740990 then current = 0 end
local version = string.format("%016.0f", math.max(current + 1, clock[1] * 1000000 + clock[2]))
