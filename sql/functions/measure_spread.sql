CREATE OR REPLACE FUNCTION omop_emb.measure_spread(c omop_emb.config) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET hnsw.ef_search = 100
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    fewest CONSTANT int := 100;
    measured double precision;
BEGIN
    -- The hashes of texts come in random order.
    EXECUTE format($sql$
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n.spread)
        FROM (SELECT e.* FROM omop_emb.%1$I e WHERE e.live ORDER BY e.text_hash LIMIT $1) q
        CROSS JOIN LATERAL (
            SELECT max(s.similarity) - min(s.similarity) AS spread
            FROM (
                SELECT %2$s AS similarity
                FROM omop_emb.%1$I e
                WHERE e.live AND e.text_hash <> q.text_hash
                ORDER BY e.embedding OPERATOR({{ vector }}.%3$s) q.embedding
                LIMIT 40
            ) s
        ) n
        HAVING count(*) = $1
        $sql$, omop_emb.embedding_table(c), omop_emb.similarity_expression(c.distance,
            format('(e.embedding OPERATOR({{ vector }}.%s) q.embedding)', omop_emb.distance_operator(c.distance))),
        omop_emb.distance_operator(c.distance)) INTO measured USING fewest;
    DELETE FROM omop_emb.similarity_spread s WHERE s.config_id = c.config_id;
    INSERT INTO omop_emb.similarity_spread (config_id, spread) SELECT c.config_id, measured WHERE measured > 0;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION omop_emb.measure_spread(omop_emb.config) IS
    'Measure and keep what a difference of similarities means for the model: the median, over 100 indexed texts, of that'
    ' between the nearest and the 40th nearest other text; false, and nothing is kept, when there are fewer texts';
