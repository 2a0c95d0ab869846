CREATE OR REPLACE FUNCTION omop_emb.indexes_kind(c omop_emb.config, kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN (c.synonyms OR kind <> 'synonym') AND (c.mapped_terms OR kind <> 'mapped');

COMMENT ON FUNCTION omop_emb.indexes_kind(omop_emb.config, text) IS
    'Whether the configuration indexes terms of the kind: name and supplied always, synonym and mapped by its settings';
