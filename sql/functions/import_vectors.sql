CREATE OR REPLACE FUNCTION omop_emb.import_vectors(
    config text, provenance jsonb, text_hashes bytea[], embedded_at timestamptz[], embeddings text[],
    OUT added bigint, OUT known bigint, OUT unused bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    differences text;
BEGIN
    SELECT string_agg(format('%s is %s, here it is %s', coalesce(ours.key, theirs.key), coalesce(theirs.value, 'null'),
            coalesce(ours.value, 'null')), '; ' ORDER BY coalesce(ours.key, theirs.key))
    INTO differences
    FROM jsonb_each(omop_emb.provenance_of(c.name)) ours
    FULL JOIN jsonb_each(import_vectors.provenance) theirs ON theirs.key = ours.key
    WHERE ours.value IS DISTINCT FROM theirs.value;
    IF differences IS NOT NULL OR import_vectors.provenance IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE001',
            MESSAGE = format('the vectors were made under other document settings than those of configuration %L: %s',
                c.name, coalesce(differences, 'none are given')),
            HINT = 'Import them into a configuration that has their settings.';
    END IF;
    EXECUTE format($sql$
        WITH given AS MATERIALIZED (
            SELECT i.*,
                EXISTS (SELECT FROM omop_emb.%1$I e WHERE e.text_hash = i.text_hash) AS known,
                EXISTS (SELECT FROM omop_emb.wanted_term($1) w WHERE w.text_hash = i.text_hash) AS wanted
            FROM ROWS FROM (unnest($2), unnest($3), unnest($4)) i (text_hash, embedded_at, embedding)
        ), added AS (
            INSERT INTO omop_emb.%1$I (text_hash, embedded_at, embedding, domains, vocabularies)
            SELECT g.text_hash, g.embedded_at, g.embedding::{{ vector }}.%2$I, f.domains, f.vocabularies
            FROM given g
            JOIN omop_emb.filed_under($1, $2) f ON f.text_hash = g.text_hash
            WHERE g.wanted
            ON CONFLICT (text_hash) DO NOTHING
            RETURNING text_hash
        ), recovered AS (
            DELETE FROM omop_emb.failure f USING added a WHERE f.config_id = $1.config_id AND f.text_hash = a.text_hash
        )
        SELECT (SELECT count(*) FROM added), count(*) FILTER (WHERE g.known), count(*) FILTER (WHERE NOT g.known AND NOT g.wanted)
        FROM given g
        $sql$, omop_emb.embedding_table(c), c.storage)
        INTO added, known, unused USING c, text_hashes, embedded_at, embeddings;
END
$$;

COMMENT ON FUNCTION omop_emb.import_vectors(text, jsonb, bytea[], timestamptz[], text[]) IS
    'Second step, repeated: store vectors of texts that the vocabulary has; OE001 when they were made under other settings';
