CREATE OR REPLACE FUNCTION omop_emb.prefix_warnings(config omop_emb.config) RETURNS SETOF text
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python${{ include omop_emb/server/model_families.py }}

return prefix_warnings(config, json.loads(r'''{{ include omop_emb/model_families.json }}'''))
$python$;

COMMENT ON FUNCTION omop_emb.prefix_warnings(omop_emb.config) IS
    'What is or looks wrong with the prefixes and parameters of a configuration, by what is known of its model''s family';
