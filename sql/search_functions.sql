-- The function that each configuration searches with is written by create_nearest, so it follows a new version of it.
SELECT omop_emb.refresh_search_functions();
