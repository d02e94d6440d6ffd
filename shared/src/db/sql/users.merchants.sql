-- users.merchants
SELECT merchant_id FROM merchant_members WHERE user_id = $1
