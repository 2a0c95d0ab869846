CREATE OR REPLACE FUNCTION omop_emb.passes_term(filter omop_emb.search_filter, kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (filter.synonyms OR kind <> 'synonym') AND (filter.mapped_terms OR kind <> 'mapped');

COMMENT ON FUNCTION omop_emb.passes_term(omop_emb.search_filter, text) IS
    'Whether terms of this kind take part in a search with this filter';
