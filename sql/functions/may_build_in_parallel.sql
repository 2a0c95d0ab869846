CREATE OR REPLACE FUNCTION omop_emb.may_build_in_parallel() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT string_to_array(substring(e.extversion from '^[0-9.]+'), '.')::int[] >= '{0,8,2}'
    FROM pg_extension e WHERE e.extname = 'vector');

COMMENT ON FUNCTION omop_emb.may_build_in_parallel() IS
    'Whether parallel workers may build HNSW indexes: those of pgvector before 0.8.2 can write past the end of a buffer';
