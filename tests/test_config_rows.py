"""A row of omop_emb.config is checked when it is written, by SQL and by configure alike."""

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from tests.endpoint import Answer, Endpoint

GOOD: dict[str, Any] = {"api_base": "http://localhost:11434/v1", "model": "m", "dimensions": 8}

PLAIN_JSON: list[Any] = [[], "x", 7, None, True]
BAD: list[tuple[dict[str, Any], str]] = [
    *(
        ({"api_base": url}, "api_base")
        for url in (
            "",
            "localhost:11434/v1",
            "ftp://localhost/v1",
            "http://",
            "http:///v1",
            "http://user:password@localhost/v1",
            "http://localhost:99999/v1",
            "http://localhost:0/v1",
            "http://localhost:x/v1",
            "http://local host/v1",
            "http://localhost/v1?key=1",
            "http://localhost/v1#x",
            "http://localhost/v1\r\nX: y",
            " http://localhost/v1",
            "file:///etc/passwd",
        )
    ),
    ({"model": ""}, "model is empty"),
    ({"model": " \n"}, "model is empty"),
    ({"batch_size": -1}, "batch_size is -1"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": 2049}, "batch_size is 2049"),
    ({"timeout_ms": 0}, "timeout_ms is 0"),
    ({"timeout_ms": 2147483647}, "timeout_ms is 2147483647"),
    ({"max_retries": -1}, "max_retries is -1"),
    ({"max_retries": 101}, "max_retries is 101"),
    ({"distance": "hamming"}, "distance is 'hamming', not cosine, l2, l1 or inner_product"),
    ({"distance": "Cosine"}, "distance is 'Cosine'"),
    ({"storage": "bit"}, "storage is 'bit', not vector or halfvec"),
    *(
        ({name: Jsonb(value)}, "must be JSON objects")
        for name in ("document_params", "query_params")
        for value in PLAIN_JSON
    ),
    ({"document_params": Jsonb({"model": "other"})}, 'must not set "model" or "input"'),
    ({"query_params": Jsonb({"input": ["x"]})}, 'must not set "model" or "input"'),
    ({"dimensions": 0}, "dimensions is 0"),
    ({"dimensions": -3}, "dimensions is -3"),
    ({"dimensions": 4001}, "4001 dimensions are more than an HNSW index can hold"),
    ({"dimensions": 5000}, "5000 dimensions are more than an HNSW index can hold"),
    ({"hnsw_m": 1}, "hnsw_m is 1"),
    ({"hnsw_m": 101}, "hnsw_m is 101"),
    ({"hnsw_m": 65}, "hnsw_ef_construction is 128, not 130"),
    ({"hnsw_ef_construction": 1001}, "hnsw_ef_construction is 1001"),
    ({"hnsw_ef_search": 0}, "hnsw_ef_search is 0"),
    ({"hnsw_ef_search": 1001}, "hnsw_ef_search is 1001"),
    *(
        ({"partial_indexes": value}, f"partial_indexes is {shown}, not a list of domain_id and vocabulary_id")
        for value, shown in (
            ([None], "'{NULL}'"),
            (["domain_id", None], "'{domain_id,NULL}'"),
            (["concept_class_id"], "'{concept_class_id}'"),
            (["domain_id", "domain_id"], "'{domain_id,domain_id}'"),
            (["Domain_id"], "'{Domain_id}'"),
            ([["domain_id"], ["vocabulary_id"]], "'{{domain_id},{vocabulary_id}}'"),
        )
    ),
    ({"domains": ["Drug", None]}, "domains, vocabularies and concept_classes must not hold NULL"),
    ({"concept_classes": [None]}, "domains, vocabularies and concept_classes must not hold NULL"),
    ({"api_key_name": "sk-verysecret"}, "api_key_name must be the name of an environment variable"),
]


def insert(db: psycopg.Connection, name: str | None, **settings: Any) -> None:
    """Write a row with plain SQL."""
    values = {"name": name, **GOOD, **settings}
    statement = sql.SQL("INSERT INTO omop_emb.config ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
    )
    db.execute(statement, list(values.values()))


def state(db: psycopg.Connection) -> list[Any]:
    """Return the rows and everything that exists in the schema."""
    return [
        db.execute("TABLE omop_emb.config").fetchall(),
        db.execute("TABLE omop_emb.provenance").fetchall(),
        db.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'omop_emb'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'omop_emb'::regnamespace ORDER BY 1"
        ).fetchall(),
    ]


def test_bad_settings_are_refused_and_leave_nothing_behind(db: psycopg.Connection) -> None:
    insert(db, "good")
    before = state(db)
    for settings, message in BAD:
        with pytest.raises(psycopg.Error) as raised:
            insert(db, "bad", **settings)
        assert message in (raised.value.diag.message_primary or ""), settings
        assert raised.value.diag.sqlstate == "OE005", settings
        assert raised.value.diag.message_hint, settings
        assert "verysecret" not in str(raised.value)
        ((name, value),) = settings.items()
        update = sql.SQL("UPDATE omop_emb.config SET {} = %s").format(sql.Identifier(name))
        with pytest.raises(psycopg.Error) as raised:
            db.execute(update, [value])
        assert raised.value.diag.sqlstate == "OE005", settings
    assert state(db) == before


def test_configure_says_the_same(db: psycopg.Connection) -> None:
    for settings, message in BAD:
        plain = {key: value.obj if isinstance(value, Jsonb) else value for key, value in settings.items()}
        if {"document_params", "query_params"} & plain.keys():
            continue
        with pytest.raises(OmopEmbError) as raised:
            configure(db, "bad", {**GOOD, **plain})
        assert message in raised.value.message
        assert raised.value.hint
    assert db.execute("TABLE omop_emb.config").fetchall() == []
    with pytest.raises(OmopEmbError, match="NUL"):
        configure(db, "a\x00b", GOOD)
    configure(db, "good", GOOD)
    assert db.execute("SELECT name FROM omop_emb.config").fetchall() == [("good",)]


def test_a_configuration_needs_a_name(db: psycopg.Connection) -> None:
    for name in ("", "  ", "\n", None):
        with pytest.raises(psycopg.Error, match="a configuration needs a name"):
            insert(db, name)
    insert(db, "'; DROP TABLE cdm.concept; -- \" %s 💔")
    assert db.execute("SELECT indexed FROM omop_emb.status").fetchall() == [(0,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(db, "'; DROP TABLE cdm.concept; -- \" %s 💔")


def test_null_settings_are_refused(db: psycopg.Connection) -> None:
    insert(db, "good")
    before = state(db)
    for name in ("api_base", "model", "document_prefix", "query_params", "batch_size", "timeout_ms", "distance"):
        with pytest.raises(psycopg.Error) as raised:
            insert(db, "bad", **{name: None})
        assert raised.value.diag.sqlstate in ("OE005", "23502")
        assert name in str(raised.value)
    assert state(db) == before


@pytest.mark.parametrize(
    ("dimensions", "storage"), [(2000, "vector"), (2001, "halfvec"), (2500, "halfvec"), (4000, "halfvec")]
)
def test_long_vectors_are_stored_as_halfvec(
    db: psycopg.Connection, endpoint: Endpoint, dimensions: int, storage: str
) -> None:
    endpoint.dimensions = dimensions
    row = configure(db, "long", {"api_base": endpoint.url, "model": "m", "document_prefix": "d", "query_prefix": "q"})
    assert (row["dimensions"], row["storage"]) == (dimensions, storage)
    assert endpoint.texts == ["ddiabetes"]
    assert db.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchone() == (16, 0)
    found = db.execute("SELECT similarity FROM omop_emb_search('fever')").fetchall()
    assert len(found) == 10
    assert all(0 < similarity < 1 for (similarity,) in found)
    assert db.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (True,)
    types = db.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        " WHERE relname LIKE 'embedding%%' AND relkind = 'r' AND attname = 'embedding'"
    ).fetchall()
    assert types == [(f"{storage}({dimensions})",)]


def test_a_model_with_too_many_dimensions(db: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.dimensions = 5000
    with pytest.raises(OmopEmbError, match="5000 dimensions are more than an HNSW index can hold") as raised:
        configure(db, "long", {"api_base": endpoint.url, "model": "m"})
    assert "4,000" in (raised.value.hint or "")
    assert db.execute("TABLE omop_emb.config").fetchall() == []


def test_a_probe_that_fails_adds_nothing(db: psycopg.Connection, endpoint: Endpoint) -> None:
    before = state(db)
    for answer, sqlstate in ((Answer(401, b"no"), "OE003"), (Answer(200, b"<p>"), "OE004")):
        endpoint.respond = lambda _, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(psycopg.Error) as raised:
            insert(db, "probed", api_base=endpoint.url, dimensions=None)
        assert raised.value.diag.sqlstate == sqlstate
        assert raised.value.diag.message_hint
    assert state(db) == before
    endpoint.respond = lambda _: None
    insert(db, "probed", api_base=endpoint.url, dimensions=None)
    assert db.execute("SELECT dimensions FROM omop_emb.config").fetchone() == (8,)


def test_names_that_differ_in_one_sign_are_two_configurations(db: psycopg.Connection, endpoint: Endpoint) -> None:
    long = "x" * 100
    names = ["a-b", "a_b", "A-b", "a b", long + "1", long + "2"]
    for number, name in enumerate(names):
        insert(db, name, api_base=endpoint.url, document_prefix=f"{number}: ", query_prefix=f"{number}? ")
        assert db.execute("SELECT embedded FROM omop_emb_index(config => %s)", [name]).fetchone() == (16,)
    assert db.execute("SELECT count(*), sum(indexed) FROM omop_emb.status").fetchone() == (6, 60)
    endpoint.requests.clear()
    for number, name in enumerate(names):
        db.execute("SELECT * FROM omop_emb_search('fever', config => %s)", [name])
        assert endpoint.texts[-1] == f"{number}? fever"
    db.execute("DELETE FROM omop_emb.config WHERE name = 'a-b'")
    assert len(db.execute("SELECT * FROM omop_emb_search('fever', config => 'a_b')").fetchall()) == 10
    with pytest.raises(psycopg.Error, match="no embedding configuration 'a-b'"):
        db.execute("SELECT * FROM omop_emb_search('fever', config => 'a-b')")
    assert endpoint.texts == [f"{number}? fever" for number in range(6)]
