CREATE OR REPLACE FUNCTION public.omop_emb_version() RETURNS text
LANGUAGE sql IMMUTABLE
RETURN '{{ version }}';

COMMENT ON FUNCTION public.omop_emb_version() IS 'The version of the omop_emb package that is installed in this database';
