CREATE OR REPLACE FUNCTION omop_emb.store_documents(config text, concept_ids int[], texts text[], embeddings text[])
    RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    textless text;
    stored bigint;
BEGIN
    IF cardinality(concept_ids) IS DISTINCT FROM cardinality(embeddings)
        OR texts IS NOT NULL AND cardinality(texts) <> cardinality(concept_ids) THEN
        RAISE EXCEPTION '% concept ids, % texts and % vectors', coalesce(cardinality(concept_ids), 0),
            coalesce(cardinality(texts)::text, 'no'), coalesce(cardinality(embeddings), 0)
            USING ERRCODE = 'OE005', HINT = 'There must be one vector, and one text if any, per concept.';
    END IF;
    PERFORM omop_emb.require_indexed(c.name, concept_ids);
    IF EXISTS (SELECT FROM unnest(concept_ids) i GROUP BY i HAVING count(*) > 1) THEN
        RAISE EXCEPTION 'a concept id is given twice' USING ERRCODE = 'OE005',
            HINT = 'A concept has one document text here; give each id once.';
    END IF;

    -- First of all, as in every index run, so that two writers take turns whatever their concepts.
    PERFORM omop_emb.lock_mirror();
    IF texts IS NOT NULL THEN
        DELETE FROM omop_emb.supplied_text s WHERE s.config_id = c.config_id AND s.concept_id = ANY (concept_ids);
        INSERT INTO omop_emb.supplied_text (config_id, concept_id, text)
        SELECT c.config_id, i.concept_id, i.text
        FROM ROWS FROM (unnest(concept_ids), unnest(texts)) i (concept_id, text)
        JOIN omop_emb.vocabulary_concept(concept_ids) v ON v.concept_id = i.concept_id
        WHERE i.text IS DISTINCT FROM v.concept_name;
    END IF;
    PERFORM omop_emb.reconcile(concept_ids);
    PERFORM pg_advisory_xact_lock(hashtext('omop_emb'), c.config_id);
    SELECT string_agg(i::text, ', ' ORDER BY i) INTO textless
    FROM unnest(concept_ids) i
    WHERE NOT EXISTS (SELECT FROM omop_emb.document_term(c, i));
    IF textless IS NOT NULL THEN
        RAISE EXCEPTION 'concepts that have no name to embed: %', textless
            USING ERRCODE = 'OE005', HINT = 'Supply a text for each of them.';
    END IF;
    EXECUTE format($sql$
        WITH given AS (
            -- Concepts with the same text share its vector; the last one counts.
            SELECT DISTINCT ON (t.text_hash) t.text_hash, i.embedding
            FROM ROWS FROM (unnest($1), unnest($2)) WITH ORDINALITY i (concept_id, embedding, position)
            JOIN LATERAL (
                SELECT d.text_hash FROM omop_emb.document_term($4, i.concept_id) d
            ) t ON true
            ORDER BY t.text_hash, i.position DESC
        ), stored AS (
            INSERT INTO omop_emb.%1$I AS e (text_hash, embedding, domains, vocabularies)
            SELECT g.text_hash, g.embedding::{{ vector }}.%2$I, f.domains, f.vocabularies
            FROM given g
            JOIN omop_emb.filed_under($4, (SELECT array_agg(h.text_hash) FROM given h)) f ON f.text_hash = g.text_hash
            ON CONFLICT (text_hash) DO UPDATE SET
                embedding = excluded.embedding, embedded_at = clock_timestamp(), live = true,
                domains = excluded.domains, vocabularies = excluded.vocabularies
        ), recovered AS (
            DELETE FROM omop_emb.failure f USING given g WHERE f.config_id = $3 AND f.text_hash = g.text_hash
        )
        SELECT count(*) FROM given
        $sql$, omop_emb.embedding_table(c), c.storage)
        INTO stored USING concept_ids, embeddings, c.config_id, c;
    RETURN stored;
END
$$;

COMMENT ON FUNCTION omop_emb.store_documents(text, int[], text[], text[]) IS
    'Store document vectors that a client made, over those that are there, for the given texts or else for the document'
    ' texts of the concepts; returns the number of vectors';
