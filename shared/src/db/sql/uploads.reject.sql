-- uploads.reject
UPDATE uploads SET status = 'rejected' WHERE id = $1 AND status = 'open'
