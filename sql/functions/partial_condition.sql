CREATE OR REPLACE FUNCTION omop_emb.partial_condition(p omop_emb.partial_index) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN format('%s @> %L::text[]',
    CASE p.attribute WHEN 'domain_id' THEN 'domains' ELSE 'vocabularies' END, ARRAY[p.value]);

COMMENT ON FUNCTION omop_emb.partial_condition(omop_emb.partial_index) IS
    'Which vectors a partial index holds, as SQL; the planner wants the same words in the statements that use it';
