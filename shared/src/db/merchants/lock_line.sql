-- merchants.lock_line
SELECT onceload.lock_line($1)
