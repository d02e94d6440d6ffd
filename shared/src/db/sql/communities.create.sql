-- communities.create
-- No address: foreign programs took one after the other from under our lock.
SELECT unique_url, created_at FROM create_community($1, $2, $3, $4, $5, $6, $7, $8)
