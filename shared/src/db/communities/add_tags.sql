-- communities.add_tags
INSERT INTO onceload.community_tags (community_id, tag) SELECT $1, tag FROM unnest($2::text[]) AS tag
