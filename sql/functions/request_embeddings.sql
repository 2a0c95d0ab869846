CREATE OR REPLACE FUNCTION omop_emb.request_embeddings(config omop_emb.config, role text, texts text[])
    RETURNS SETOF omop_emb.answer
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python${{ include omop_emb/server/embedding.py }}
{{ include omop_emb/server/transport.py }}

def check():
    plpy.execute("SELECT 1")


try:
    post, pause = make_post(SD.setdefault("connections", {}), check), make_pause(check)
    results = at_an_endpoint(
        config,
        SD.setdefault("resting", {}),
        time.monotonic,
        lambda settings: embed_each(settings, role, texts, post, pause, time.monotonic),
    )
except EmbeddingError as problem:
    failed = (None, None, problem.message, problem.sqlstate, problem.hint, problem.unavailable)
    return [failed] + [(number, None, text_problem(text), None, None, None) for number, text in enumerate(texts, 1)]
return [
    (number, None if vector is None else vector_literal(vector), failure, None, None, None)
    for number, (vector, failure) in enumerate(results, 1)
]
$python$;

COMMENT ON FUNCTION omop_emb.request_embeddings(omop_emb.config, text, text[]) IS
    'One answer per text in the role document or query; when the endpoint failed, after one with an sqlstate,'
    ' what is wrong with the texts themselves';
