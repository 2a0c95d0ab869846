CREATE OR REPLACE FUNCTION omop_emb.refresh_live(
        c omop_emb.config, touched bytea[], since timestamptz, may_drop_index boolean, OUT removed bigint, OUT reused bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    filed_anew bigint;
    vectors bigint;
BEGIN
    -- Each row that changes is put into the HNSW indexes again and leaves a dead one there that scans stumble over.
    IF may_drop_index AND touched IS NULL AND to_regclass(format('omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw')) IS NOT NULL THEN
        EXECUTE format($sql$
            SELECT count(*) FILTER (WHERE (e.domains, e.vocabularies) IS DISTINCT FROM (f.domains, f.vocabularies)), count(*)
            FROM omop_emb.%1$I e JOIN omop_emb.filed_under($1, NULL) f ON f.text_hash = e.text_hash
            WHERE e.live
            $sql$, omop_emb.embedding_table(c)) INTO filed_anew, vectors USING c;
        IF filed_anew > 1000 AND filed_anew > vectors / 10 THEN
            PERFORM omop_emb.drop_hnsw(c);
        END IF;
    END IF;
    -- A vector whose text nobody uses any more leaves the HNSW index but is kept: the text may come back.
    EXECUTE format($sql$
        WITH filed AS MATERIALIZED (
            SELECT f.* FROM omop_emb.filed_under($1, $2) f
        ), gone AS (
            UPDATE omop_emb.%1$I e SET live = false
            WHERE e.live AND ($2 IS NULL OR e.text_hash = ANY ($2))
                AND NOT EXISTS (SELECT FROM filed f WHERE f.text_hash = e.text_hash)
            RETURNING e.text_hash
        ), back AS (
            UPDATE omop_emb.%1$I e SET live = true, domains = f.domains, vocabularies = f.vocabularies
            FROM filed f
            WHERE f.text_hash = e.text_hash AND NOT e.live
            RETURNING e.text_hash
        ), refiled AS (
            UPDATE omop_emb.%1$I e SET domains = f.domains, vocabularies = f.vocabularies
            FROM filed f
            WHERE f.text_hash = e.text_hash AND e.live
                AND (e.domains, e.vocabularies) IS DISTINCT FROM (f.domains, f.vocabularies)
        )
        SELECT (SELECT count(*) FROM gone), count(*)
        FROM omop_emb.wanted_term($1) w
        JOIN omop_emb.term t ON t.text_hash = w.text_hash AND t.concept_id = w.concept_id AND t.kind = w.kind
            AND t.config_id IN (0, $1.config_id)
        JOIN omop_emb.%1$I e ON e.text_hash = w.text_hash
        WHERE (t.added_at >= $3 OR e.text_hash IN (SELECT b.text_hash FROM back b))
            AND ($2 IS NULL OR w.text_hash = ANY ($2))
        $sql$, omop_emb.embedding_table(c)) INTO removed, reused USING c, touched, since;
    DELETE FROM omop_emb.failure f
    WHERE f.config_id = c.config_id
        AND NOT EXISTS (SELECT FROM omop_emb.wanted_term(c) w WHERE w.text_hash = f.text_hash);
END
$$;

COMMENT ON FUNCTION omop_emb.refresh_live(omop_emb.config, bytea[], timestamptz, boolean) IS
    'Mark which vectors of the configuration belong to a text in use, and to which domains and vocabularies: all of'
    ' them, or those of the given hashes';
