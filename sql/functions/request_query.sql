CREATE OR REPLACE FUNCTION omop_emb.request_query(config omop_emb.config, query text, key bytea) RETURNS omop_emb.answer
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
known = SD.setdefault("known", {})
if key in known:
    known[key] = known.pop(key)
    return (None, known[key], None, None, None, None)

{{ include omop_emb/server/embedding.py }}
{{ include omop_emb/server/transport.py }}

def check():
    plpy.execute("SELECT 1")


try:
    post, pause = make_post(SD.setdefault("connections", {}), check), make_pause(check)
    vectors = at_an_endpoint(
        config,
        SD.setdefault("resting", {}),
        time.monotonic,
        lambda settings: embed(settings, QUERY, [query], post, pause, time.monotonic),
    )
except EmbeddingError as problem:
    return (1, None, problem.message, problem.sqlstate, problem.hint, problem.unavailable)
if len(known) >= 256:
    del known[next(iter(known))]
known[key] = vector_literal(vectors[0])
return (1, known[key], None, None, None, None)
$python$;

COMMENT ON FUNCTION omop_emb.request_query(omop_emb.config, text, bytea) IS
    'The answer for a text in the QUERY role; the session remembers the last 256 by their keys, then text_no is NULL';
