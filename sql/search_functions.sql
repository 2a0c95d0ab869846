-- The functions that configurations search with are written by create_search_functions, so they follow a new version of it.
SELECT omop_emb.refresh_search_functions();
-- Searches of what an older version indexed are planned by counts that it did not keep.
SELECT omop_emb.refresh_statistics()
WHERE EXISTS (SELECT FROM omop_emb.concept) AND NOT EXISTS (SELECT FROM omop_emb.concept_group);
