-- community_tags.add
INSERT INTO community_tags (community_id, tag) SELECT $1, tag FROM unnest($2::text[]) AS tag
