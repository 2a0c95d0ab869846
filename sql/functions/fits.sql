CREATE OR REPLACE FUNCTION omop_emb.fits(c omop_emb.config, p omop_emb.provenance) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN (c.model, c.dimensions, c.document_prefix, c.document_params, c.distance, c.storage)
    IS NOT DISTINCT FROM (p.model, p.dimensions, p.document_prefix, p.document_params, p.distance, p.storage);

COMMENT ON FUNCTION omop_emb.fits(omop_emb.config, omop_emb.provenance) IS
    'Whether vectors that were made under these settings are what the configuration asks for now';
