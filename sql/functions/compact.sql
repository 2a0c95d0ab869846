CREATE OR REPLACE FUNCTION omop_emb.compact(text text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN lower(regexp_replace(text, '[\s\-_./,''\u2010-\u2015]+', '', 'g'));

COMMENT ON FUNCTION omop_emb.compact(text) IS
    'A name or code as it compares without case, spaces, hyphens and the punctuation that people leave out';
