-- communities.add_images
INSERT INTO onceload.community_images (community_id, position, url)
SELECT $1, position, url FROM unnest($2::text[]) WITH ORDINALITY AS image (url, position)
