local value = version .. ":" .. ARGV[1]
if ARGV[2] == "0" then
  redis.call("SET", KEYS[1], value)
else
  redis.call("SET", KEYS[1], value, "PX", ARGV[2])
end
