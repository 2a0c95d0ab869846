CREATE OR REPLACE FUNCTION omop_emb.api_base_problem(url text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN url IS NULL OR url !~* '^https?://[^/\s:?#@]+(:\d{1,5})?(/[^\s?#]*)?$'
        AND url !~* '^https?://\[[0-9a-f:.]+\](:\d{1,5})?(/[^\s?#]*)?$'
        THEN format('is %s, not an http or https base URL such as http://localhost:11434/v1',
            coalesce(quote_literal(url), 'NULL'))
    WHEN substring(url from ':(\d+)(?:/|$)')::int NOT BETWEEN 1 AND 65535
        THEN format('%L has a port outside 1 to 65535', url)
    END;

COMMENT ON FUNCTION omop_emb.api_base_problem(text) IS 'What is wrong with the base URL of an endpoint; NULL when nothing is';
