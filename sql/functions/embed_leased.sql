CREATE OR REPLACE FUNCTION omop_emb.embed_leased(
    c omop_emb.config, worker text, job_ids bigint[], OUT embedded bigint, OUT reused bigint, OUT failed bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hashes bytea[];
    texts text[];
    vectors text[];
    errors text[];
BEGIN
    SELECT array_agg(u.text_hash ORDER BY j.job_id, u.position), array_agg(u.text ORDER BY j.job_id, u.position)
    INTO hashes, texts
    FROM omop_emb.job_texts(c, job_ids) j,
        ROWS FROM (unnest(j.text_hashes), unnest(j.texts)) WITH ORDINALITY u (text_hash, text, position);
    -- Nothing is written before the endpoint has answered: until then this holds nobody up.
    SELECT array_agg(d.embedding ORDER BY d.text_no), array_agg(d.error ORDER BY d.text_no)
    INTO vectors, errors
    FROM omop_emb.embed_documents(c, coalesce(texts, '{}')) d;
    WHILE NOT omop_emb.open_staging() LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    INSERT INTO pg_temp.omop_emb_staging (text_hash, embedding, error)
    SELECT a.text_hash, a.embedding::{{ vector }}.vector, a.error
    FROM ROWS FROM (unnest(hashes), unnest(vectors), unnest(errors)) a (text_hash, embedding, error);
    SELECT m.embedded, m.reused, m.failed INTO embedded, reused, failed
    FROM omop_emb.merge_staged(c.name, worker, job_ids, NULL) m;
    -- There may be thousands of these in one transaction.
    TRUNCATE pg_temp.omop_emb_staging;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_leased(omop_emb.config, text, bigint[]) IS
    'Embed the texts of jobs that the worker has, in the DOCUMENT role, store the vectors and end the jobs';
