-- users.caller
SELECT id, merchants, response_status, response_headers, response_body FROM caller($1, $2, $3, $4, $5)
