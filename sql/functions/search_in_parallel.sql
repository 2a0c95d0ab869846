CREATE OR REPLACE FUNCTION omop_emb.search_in_parallel(c omop_emb.config, mode text, texts int) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- A worker costs some milliseconds, as a few searches do. Parts beyond one each let the fast ones take more.
    parts int := least(texts / 16, 4 * (1 + current_setting('max_parallel_workers_per_gather')::int));
    of_part int := ceil(texts / greatest(parts, 1)::numeric);
BEGIN
    RETURN string_agg(format('SELECT d.query AS searched_for, s.* FROM unnest($2[%s:%s], $3[%s:%s]) d (query, embedding)'
        ' CROSS JOIN LATERAL %s s', part, part + of_part - 1, part, part + of_part - 1,
        omop_emb.search_call(c, mode, 'd.query', 'd.embedding', '$4', '$5')), ' UNION ALL ')
    FROM generate_series(1, texts, of_part) part;
END
$$;

COMMENT ON FUNCTION omop_emb.search_in_parallel(omop_emb.config, text, int) IS
    'The statement that searches for $2 texts with $3 vectors, $4 k and $5 filter, in parts that parallel workers can take';
