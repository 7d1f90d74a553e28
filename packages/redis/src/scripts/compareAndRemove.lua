-- Removes a value if the stored version is the expected one.
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
if versionOf(textOf("GETRANGE", KEYS[1], 0, 16)) ~= tonumber(ARGV[1]) then return "0" end
redis.call("DEL", KEYS[1])
return "1"
