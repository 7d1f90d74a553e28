-- Tells the owner of a token that its lock was taken away.
--
-- ARGV  1 channel  2 token
-- Reply "notified"
redis.call("PUBLISH", ARGV[1], ARGV[2])
return "notified"
