-- Tells the owner of a token that its lock was freed by force.
--
-- ARGV  1 channel  2 token
-- Reply "notified"
redis.call("PUBLISH", ARGV[1], ARGV[2] .. " Vanished")
return "notified"
