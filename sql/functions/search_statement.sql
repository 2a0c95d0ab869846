CREATE OR REPLACE FUNCTION omop_emb.search_statement(c omop_emb.config, exact boolean) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN format($sql$
        WITH candidate AS (
            SELECT m.concept_id, m.concept_name, m.domain_id, m.vocabulary_id, m.concept_class_id, m.concept_code,
                m.standard_concept, t.kind, t.text,
                e.embedding OPERATOR({{ vector }}.%1$s) $1%2$s AS distance
            FROM omop_emb.%3$I e
            JOIN omop_emb.term t ON t.text_hash = e.text_hash
            JOIN omop_emb.concept m ON m.concept_id = t.concept_id
            WHERE e.live AND t.config_id IN (0, %7$s)
                AND (($3).domains IS NULL OR m.domain_id = ANY (($3).domains))
                AND (($3).vocabularies IS NULL OR m.vocabulary_id = ANY (($3).vocabularies))
                AND (($3).concept_classes IS NULL OR m.concept_class_id = ANY (($3).concept_classes))
                AND (NOT ($3).standard_only OR m.standard_concept = 'S')
                AND (($3).include_invalid OR m.is_valid)
                AND (($3).synonyms OR t.kind <> 'synonym')
                AND (($3).concept_ids IS NULL OR m.concept_id IN (SELECT unnest(($3).concept_ids)))
                AND (($3).excluded_concept_id IS NULL OR m.concept_id <> ($3).excluded_concept_id)
            %4$s
        ), folded AS (
            SELECT DISTINCT ON (f.concept_id) f.*,
                CASE f.standard_concept WHEN 'S' THEN 0 WHEN 'C' THEN 1 ELSE 2 END AS preference
            FROM candidate f
            ORDER BY f.concept_id, f.distance, f.kind, f.text
        ), ranked AS (
            SELECT (row_number() OVER best_first)::int AS rank, count(*) OVER best_first AS concepts, r.*
            FROM folded r
            WINDOW best_first AS (ORDER BY r.distance, r.preference, r.concept_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
        )
        SELECT r.rank, r.concept_id, r.concept_name, r.domain_id, r.vocabulary_id, r.concept_class_id,
            r.concept_code, r.standard_concept, (%5$s)::double precision, r.text,
            CASE r.kind WHEN 'name' THEN 'name' ELSE 'synonym' END
        FROM ranked r
        WHERE r.rank <= $2%6$s
        ORDER BY r.distance, r.preference, r.concept_id
        $sql$,
    CASE c.distance WHEN 'cosine' THEN '<=>' WHEN 'l2' THEN '<->' WHEN 'l1' THEN '<+>' WHEN 'inner_product' THEN '<#>' END,
    CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END,
    omop_emb.embedding_table(c),
    -- Rows with the same vector as the last candidate must all be candidates, or ties would be broken by chance.
    CASE WHEN NOT exact THEN format('ORDER BY e.embedding OPERATOR({{ vector }}.%s) $1%s FETCH FIRST (candidates) ROWS WITH TIES',
        CASE c.distance WHEN 'cosine' THEN '<=>' WHEN 'l2' THEN '<->' WHEN 'l1' THEN '<+>' WHEN 'inner_product' THEN '<#>' END,
        CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END) ELSE '' END,
    CASE c.distance
        WHEN 'cosine' THEN 'greatest(0, least(1, 1 - r.distance / 2))'
        WHEN 'inner_product' THEN 'greatest(0, least(1, (1 - r.distance) / 2))'
        ELSE '1 / (1 + r.distance)' END,
    CASE WHEN exact THEN '' ELSE ' AND r.concepts >= $2' END, c.config_id);

COMMENT ON FUNCTION omop_emb.search_statement(omop_emb.config, boolean) IS
    'The statement that ranks concepts by $1 vector, $2 k and $3 filter; by index, from the variable candidates, all k or nothing';
