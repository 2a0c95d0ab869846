CREATE OR REPLACE FUNCTION omop_emb.fits(c omop_emb.config, p omop_emb.provenance) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN c.model IS NOT DISTINCT FROM p.model
    AND c.dimensions IS NOT DISTINCT FROM p.dimensions
    AND c.document_prefix IS NOT DISTINCT FROM p.document_prefix
    AND c.document_params IS NOT DISTINCT FROM p.document_params
    AND c.distance IS NOT DISTINCT FROM p.distance
    AND c.storage IS NOT DISTINCT FROM p.storage;

COMMENT ON FUNCTION omop_emb.fits(omop_emb.config, omop_emb.provenance) IS
    'Whether vectors that were made under these settings are what the configuration asks for now';
