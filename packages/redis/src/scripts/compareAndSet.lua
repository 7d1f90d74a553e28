-- Writes a value with a new version if the stored version is the expected one.
--
-- KEYS  1 value
-- ARGV  1 bytes  2 time to live in ms, 0 = without end  3 expected version, 0 = no value
-- Reply the version, or "0" on a conflict
-- >>> shared/version.lua (written by scripts/codegen.mjs)
local clock = redis.call("TIME")
local stored = redis.call("GETRANGE", KEYS[1], 0, 16)
-- As a reader sees it: anything but 16 digits, no greater than a number can be counted on, is no value.
local current = tonumber(#stored == 17 and string.match(stored, "^(%d+):$") or "0")
if current > 9007199254740990 then current = 0 end
local version = string.format("%016.0f", math.max(current + 1, clock[1] * 1000000 + clock[2]))
-- <<< shared/version.lua
if current ~= tonumber(ARGV[3]) then return "0" end
-- >>> shared/write.lua (written by scripts/codegen.mjs)
local value = version .. ":" .. ARGV[1]
if ARGV[2] == "0" then
  redis.call("SET", KEYS[1], value)
else
  redis.call("SET", KEYS[1], value, "PX", ARGV[2])
end
-- <<< shared/write.lua
return version
