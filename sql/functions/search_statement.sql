CREATE OR REPLACE FUNCTION omop_emb.search_statement(c omop_emb.config, exact boolean, only_where text DEFAULT '')
    RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN format($sql$
        WITH candidate AS (
            SELECT m.concept_id, m.concept_name, m.domain_id, m.vocabulary_id, m.concept_class_id, m.concept_code,
                m.standard_concept, m.is_valid, t.kind, t.text, e.embedding OPERATOR({{ vector }}.%1$s) $1%2$s AS distance
            FROM omop_emb.%3$I e
            JOIN omop_emb.term t ON t.text_hash = e.text_hash
            JOIN omop_emb.concept m ON m.concept_id = t.concept_id
            WHERE e.live%8$s AND t.config_id IN (0, %7$s) AND omop_emb.passes_term($3, t.kind) AND omop_emb.passes($3, m)
                AND (($3).concept_ids IS NULL OR m.concept_id %9$s)
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
    omop_emb.distance_operator(c.distance),
    CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END,
    omop_emb.embedding_table(c),
    -- Rows with the same vector as the last candidate must all be candidates, or ties would be broken by chance.
    CASE WHEN NOT exact THEN format('ORDER BY e.embedding OPERATOR({{ vector }}.%s) $1%s FETCH FIRST (candidates) ROWS WITH TIES',
        omop_emb.distance_operator(c.distance), CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END)
        ELSE '' END,
    omop_emb.similarity_expression(c.distance, 'r.distance'),
    CASE WHEN exact THEN '' ELSE ' AND r.concepts >= (enough)' END, c.config_id, only_where,
    -- An exact scan is planned for its filter, and can start from the concepts.
    CASE WHEN exact THEN '= ANY (($3).concept_ids)' ELSE 'IN (SELECT unnest(($3).concept_ids))' END);
END
$$;

COMMENT ON FUNCTION omop_emb.search_statement(omop_emb.config, boolean, text) IS
    'The statement that ranks concepts by $1 vector, $2 k and $3 filter; by index, from the variable candidates, or'
    ' nothing when there are fewer concepts among them than the variable enough; a further condition chooses a partial index';
