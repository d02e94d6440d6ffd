-- outbox.add
INSERT INTO onceload.outbox (job_id, kind, payload) VALUES ($1, $2, $3) RETURNING id
