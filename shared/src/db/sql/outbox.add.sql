-- outbox.add
INSERT INTO outbox (job_id, kind, payload) VALUES ($1, $2, $3) RETURNING id
