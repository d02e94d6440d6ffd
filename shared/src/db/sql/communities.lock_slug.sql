-- communities.lock_slug
-- Whoever makes a community of the same root waits here, so that nobody tries a suffix in vain. A statement of its own:
-- the next one's snapshot must be taken under the lock.
SELECT pg_advisory_xact_lock(hashtextextended('onceload slug ' || $1::text, 0)) AS locked
