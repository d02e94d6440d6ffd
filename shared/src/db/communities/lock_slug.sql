-- communities.lock_slug
-- Makers of communities of one root take turns, so that none tries a suffix in vain. A statement of its own: the snapshot
-- of the next one is taken under the lock.
SELECT pg_advisory_xact_lock(hashtextextended('onceload slug ' || $1::text, 0)) AS locked
