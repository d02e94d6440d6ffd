-- users.end_check
UPDATE onceload.users SET checks = array_remove(checks, $2) WHERE id = $1
