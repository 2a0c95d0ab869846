CREATE OR REPLACE FUNCTION omop_emb.search_statement(c omop_emb.config, path text, condition text DEFAULT '') RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    exact boolean := path IN ('few', 'all');
    source text := format('SELECT e.text_hash, e.embedding OPERATOR({{ vector }}.%s) $1%s AS distance FROM omop_emb.%I e WHERE e.live%s',
        omop_emb.distance_operator(c.distance), CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END,
        omop_emb.embedding_table(c), condition);
BEGIN
    IF path = 'further' THEN
        source := source || ' ORDER BY distance LIMIT (looked_at)';
    END IF;
    RETURN format($sql$
        WITH candidate AS (
            SELECT m.concept_id, m.concept_name, m.domain_id, m.vocabulary_id, m.concept_class_id, m.concept_code,
                m.standard_concept, m.is_valid, t.kind, t.text, e.distance
            FROM (%1$s) e
            JOIN omop_emb.term t ON t.text_hash = e.text_hash
            JOIN omop_emb.concept m ON m.concept_id = t.concept_id
            WHERE t.config_id IN (0, %2$s) AND omop_emb.passes_term($3, t.kind) AND omop_emb.passes($3, m)
                AND %3$s
            %4$s
        ), folded AS (
            SELECT DISTINCT ON (f.concept_id) f.*
            FROM candidate f
            ORDER BY f.concept_id, f.distance, f.kind <> 'name', f.kind = 'mapped', f.kind, f.text
        ), ranked AS (
            SELECT (row_number() OVER best_first)::int AS rank, count(*) OVER best_first AS concepts, r.*
            FROM folded r
            WINDOW best_first AS (
                ORDER BY r.distance, r.kind <> 'name', omop_emb.preference(r.standard_concept, r.is_valid), r.concept_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
        )
        SELECT r.rank, r.concept_id, r.concept_name, r.domain_id, r.vocabulary_id, r.concept_class_id,
            r.concept_code, r.standard_concept, (%5$s)::double precision, r.text,
            CASE r.kind WHEN 'supplied' THEN 'synonym' ELSE r.kind END, r.rank, NULL::int
        FROM ranked r
        WHERE r.rank <= $2%6$s
        ORDER BY r.rank
        $sql$,
    source, c.config_id,
    CASE WHEN path = 'few' THEN 't.concept_id = ANY (few)'
        -- Planned for its filter, it can start from the concepts.
        WHEN path IN ('top', 'all') THEN '(($3).concept_ids IS NULL OR m.concept_id = ANY (($3).concept_ids))'
        ELSE '(($3).concept_ids IS NULL OR m.concept_id IN (SELECT unnest(($3).concept_ids)))' END,
    -- Rows with the same vector as the last candidate must all be candidates, or ties would be broken by chance.
    CASE WHEN exact THEN ''
        -- WITH TIES sorts all rows, of all columns; a LIMIT keeps only the first.
        WHEN path = 'top' THEN 'ORDER BY e.distance LIMIT 4 * $2'
        ELSE 'ORDER BY e.distance FETCH FIRST (candidates) ROWS WITH TIES' END,
    omop_emb.similarity_expression(c.distance, 'r.distance'),
    CASE WHEN exact THEN ''
        WHEN path = 'top' THEN ' AND EXISTS (SELECT FROM ranked l WHERE l.rank = $2'
            ' AND l.distance < (SELECT max(f.distance) FROM candidate f))'
        ELSE ' AND r.concepts >= (enough)' END);
END
$$;

COMMENT ON FUNCTION omop_emb.search_statement(omop_emb.config, text, text) IS
    'The statement that ranks concepts by $1 vector, $2 k and $3 filter, among the vectors that meet a condition. Path'
    ' all compares them all, path few those of the concepts in the variable few. Path top keeps the first of all, and'
    ' ranks nothing where these might be too few concepts or not all that are equally near. Paths nearest and further rank as'
    ' many as the variable candidates says, or nothing when these are fewer concepts than the variable enough; further'
    ' has them from among the looked_at nearest terms';
