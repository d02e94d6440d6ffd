-- uploads.reject
UPDATE onceload.uploads SET status = 'rejected' WHERE id = $1 AND status = 'open'
