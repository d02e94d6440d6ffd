-- outbox.take_due
-- The first due message of every merchant, then the second of every merchant, and so on: nobody waits for all messages of another
-- merchant. The conditions are checked again on the locked row, which another sweep may have taken.
WITH due AS MATERIALIZED (
    SELECT o.id, row_number() OVER (PARTITION BY j.merchant_id ORDER BY o.id) AS turn
      FROM onceload.outbox o JOIN onceload.codes_import_jobs j ON j.id = o.job_id
     WHERE o.delivered_at IS NULL AND o.given_up_at IS NULL AND o.next_attempt_at <= now() AND o.kind = ANY ($1)
), taken AS (
    SELECT o.id FROM onceload.outbox o JOIN due ON due.id = o.id
     WHERE o.delivered_at IS NULL AND o.given_up_at IS NULL AND o.next_attempt_at <= now()
     ORDER BY due.turn, o.id LIMIT $2 FOR UPDATE OF o SKIP LOCKED
)
UPDATE onceload.outbox o SET attempts = attempts + 1, next_attempt_at = now() + interval '1 minute'
  FROM taken WHERE o.id = taken.id
RETURNING o.id, o.job_id, o.kind, o.payload, extract(epoch FROM now() - o.created_at)::float8 AS age_seconds
