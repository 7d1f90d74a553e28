-- Tells those who watch that a value has changed whose lock is elsewhere.
--
-- ARGV  1 channel  2 version of the value, or "invalidated"  3 key
-- Reply "announced"
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " " .. ARGV[3])
return "announced"
