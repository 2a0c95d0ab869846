"""What is known about families of models, and where it is said when settings disagree with it."""

import json
import os
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb.cli import main
from omop_emb.configuration import PREFIX_VARIABLES
from omop_emb.model_names import FAMILIES
from omop_emb.resources import PACKAGE
from omop_emb.server.model_families import ROLES, find_family, prefix_warnings
from tests.endpoint import Answer, Endpoint

BGE_QUERY = "Represent this sentence for searching relevant passages: "
WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take what the developer's shell says out of the tests."""
    for name in list(os.environ):
        if name.startswith(("PG", "OMOP_EMB_")) and name != "PG_BINDIR":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("model", "document", "query"),
    [
        ("nomic-embed-text:v1.5", "search_document: ", "search_query: "),
        ("nomic-ai/nomic-embed-text-v2-moe", "search_document: ", "search_query: "),
        ("text-embedding-nomic-embed-text-v1.5", "search_document: ", "search_query: "),
        ("intfloat/multilingual-e5-small", "passage: ", "query: "),
        ("jeffh/intfloat-multilingual-e5-large:f16", "passage: ", "query: "),
        ("e5-base-v2", "passage: ", "query: "),
        ("intfloat/multilingual-e5-large-instruct", "", WEB_SEARCH + " "),
        ("Qwen/Qwen3-Embedding-0.6B", "", WEB_SEARCH),
        ("qwen3-embedding:0.6b", "", WEB_SEARCH),
        ("BAAI/bge-large-en-v1.5", "", BGE_QUERY),
        ("znbang/bge:small-en-v1.5-f16", "", BGE_QUERY),
        ("BAAI/bge-m3", "", ""),
        ("mxbai-embed-large:335m", "", BGE_QUERY),
        ("snowflake-arctic-embed:335m", "", BGE_QUERY),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", "", BGE_QUERY),
        ("snowflake-arctic-embed2:568m", "", "query: "),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "", "query: "),
        ("embeddinggemma:300m", "title: none | text: ", "task: search result | query: "),
        ("all-minilm:33m", "", ""),
        ("text-embedding-3-small", "", ""),
    ],
)
def test_prefixes_of_known_models(model: str, document: str, query: str) -> None:
    family = find_family(model, FAMILIES)
    assert family
    assert (family["document"], family["query"]["prefix"]) == ({"prefix": document, "params": {}}, query)
    assert family["query"]["params"] == {}


@pytest.mark.parametrize(
    ("model", "document", "query"),
    [
        ("nvidia/nv-embedqa-e5-v5", {"input_type": "passage"}, {"input_type": "query"}),
        ("voyage-3-large", {"input_type": "document"}, {"input_type": "query"}),
        ("jina-embeddings-v3", {"task": "retrieval.passage"}, {"task": "retrieval.query"}),
    ],
)
def test_params_of_known_models(model: str, document: dict[str, str], query: dict[str, str]) -> None:
    family = find_family(model, FAMILIES)
    assert family
    assert [family[role] for role in ROLES] == [{"prefix": "", "params": document}, {"prefix": "", "params": query}]


def test_the_data_is_of_one_form() -> None:
    for family in FAMILIES:
        assert set(family) == {"name", "models", "document", "query", "model_card"}
        assert family["model_card"].startswith("https://")
        assert all(pattern == pattern.lower() for pattern in family["models"])
        settings: dict[str, Any] = {"model": family["models"][0].replace("*", "x").replace("?", "l")}
        for role in ROLES:
            assert set(family[role]) - {"also"} == {"prefix", "params"}
            settings |= {f"{role}_{kind}": family[role][kind] for kind in ("prefix", "params")}
        assert find_family(settings["model"], FAMILIES) == family
        assert prefix_warnings(settings, FAMILIES) == []
    assert len({family["name"] for family in FAMILIES}) == len(FAMILIES)
    for unknown in ("recorded", "", "bge-large-zh-v1.5", "e5", "my-own-text-embedding-3-small"):
        assert find_family(unknown, FAMILIES) is None
    # What holds it in the function body.
    assert "'''" not in json.dumps(FAMILIES)


def warnings(model: str, document: str, query: str, **params: Any) -> list[str]:
    settings = {"model": model, "document_prefix": document, "query_prefix": query}
    return prefix_warnings({**settings, "document_params": "{}", "query_params": None, **params}, FAMILIES)


@pytest.mark.parametrize(
    "lost", ["search_document:", "search_document:  ", " search_document: ", "search_document :", '"search_document: "']
)
def test_a_prefix_that_is_right_but_for_white_space(lost: str) -> None:
    for model in ("nomic-embed-text:v1.5", "unknown"):
        (warning,) = warnings(model, lost, "search_query: ")
        assert repr(lost) in warning
        assert "'search_document: ' of nomic-embed-text but for white space" in warning
        assert ".env" in warning


def test_what_is_warned_of() -> None:
    assert warnings("recorded", "doc: ", "query: ") == []
    assert [text.split(";")[0] for text in warnings("recorded", "", "")] == [
        "the document prefix is empty", "the query prefix is empty",
    ]  # fmt: skip
    assert warnings("recorded", "", "", document_params={"task": "d"}, query_params='{"task": "q"}') == []
    document, query = warnings("e5-base-v2", "query: ", "passage: ")
    assert "'query: ' is the query prefix of E5" in document
    assert "'passage: ' is the document prefix of E5" in query
    (warning,) = warnings("bge-m3", "", "query: ")
    assert "take none" in warning
    (warning,) = warnings("qwen3-embedding:8b", "", WEB_SEARCH.replace("\n", "\\n"))
    assert "but for white space" in warning
    assert warnings("qwen3-embedding:8b", "", "Instruct: Given a diagnosis, find its concept\nQuery:") == []
    assert warnings("embeddinggemma:300m", "title: none | text: ", "task: question answering | query: ") == []
    (warning,) = warnings(
        "voyage-3", "", "", document_params={"input_type": "query"}, query_params={"input_type": "query"}
    )
    assert '"input_type" in document_params is "query"; Voyage models take "document"' in warning


def test_inserts_and_updates_warn_and_only_of_what_changes(db: psycopg.Connection, endpoint: Endpoint) -> None:
    said: list[tuple[str | None, str | None]] = []
    db.add_notice_handler(lambda notice: said.append((notice.severity, notice.message_primary)))

    def warned() -> list[str]:
        assert {severity for severity, _ in said} <= {"WARNING"}
        messages = [message or "" for _, message in said]
        said.clear()
        return messages

    db.execute(
        "INSERT INTO omop_emb.config (name, api_base, model, document_prefix, query_prefix)"
        " VALUES ('n', %s, 'nomic-embed-text:v1.5', 'search_document:', 'search_query: ')",
        [endpoint.url],
    )
    (warning,) = warned()
    assert "'search_document:' is 'search_document: ' of nomic-embed-text but for white space" in warning
    row = db.execute(
        "SELECT f.model, f.document_prefix, f.query_prefix, w FROM omop_emb.config f, omop_emb.prefix_warnings(f) w"
    )
    assert row.fetchall() == [("nomic-embed-text:v1.5", "search_document:", "search_query: ", warning)]
    db.execute("UPDATE omop_emb.config SET batch_size = 8")
    assert warned() == []
    db.execute("UPDATE omop_emb.config SET document_prefix = 'search_document: '")
    assert warned() == []
    db.execute("UPDATE omop_emb.config SET query_prefix = 'query: %; %s'")
    (warning,) = warned()
    assert "'query: %; %s' is not that of the family" in warning
    db.execute("""UPDATE omop_emb.config SET model = 'voyage-4', query_prefix = '', document_prefix = '',
        document_params = '{"input_type": "document"}'""")
    (warning,) = warned()
    assert '"input_type" in query_params is missing' in warning
    with pytest.raises(psycopg.Error, match="hnsw_m"):
        db.execute("UPDATE omop_emb.config SET query_prefix = 'x', hnsw_m = 1")
    assert warned() == []


def add(dsn: str, name: str, url: str, model: str, *options: str) -> Result:
    return CliRunner().invoke(
        main, ["--dsn", dsn, "configure", name, "--api-base", url, "--model", model, *options], catch_exceptions=False
    )


def stored(dsn: str, name: str) -> tuple[Any, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT document_prefix, query_prefix, document_params, query_params FROM omop_emb.config WHERE name = %s",
            [name],
        ).fetchone()
    assert row
    return row


def test_configure_fills_in_what_is_left_out(dsn: str, endpoint: Endpoint, environment: pytest.MonkeyPatch) -> None:
    result = add(dsn, "nomic", endpoint.url, "nomic-embed-text:v1.5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert stored(dsn, "nomic") == ("search_document: ", "search_query: ", {}, {})
    assert "model family nomic-embed-text (https://" in result.stdout
    assert endpoint.texts == ["search_document: diabetes"]

    environment.setenv(PREFIX_VARIABLES["document_prefix"], "search_document:")
    environment.setenv(PREFIX_VARIABLES["query_prefix"], "")
    result = add(dsn, "mixed", endpoint.url, "nomic-embed-text:v1.5")
    assert stored(dsn, "mixed") == ("search_document:", "search_query: ", {}, {})
    assert "'search_document:' is from OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX" in result.stdout
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("warning: the document prefix 'search_document:' is 'search_document: ' of nomic")

    result = add(dsn, "given", endpoint.url, "nomic-embed-text:v1.5", "--document-prefix", "", "--query-prefix", "q: ")
    assert stored(dsn, "given") == ("", "q: ", {}, {})
    assert "model family" not in result.stdout
    assert [line.split(";")[0] for line in result.stderr.splitlines()] == [
        "warning: the document prefix is empty", "warning: the query prefix 'q: ' is not that of the family",
    ]  # fmt: skip

    environment.delenv(PREFIX_VARIABLES["document_prefix"])
    result = add(dsn, "params", endpoint.url, "voyage-4", "--query-params", '{"input_type": "other"}')
    assert stored(dsn, "params") == ("", "", {"input_type": "document"}, {"input_type": "other"})
    assert endpoint.requests[-1]["input_type"] == "document"
    assert 'document params {"input_type": "document"}' in result.stdout
    (warning,) = result.stderr.splitlines()
    assert '"input_type" in query_params is "other"' in warning

    before = stored(dsn, "params")
    result = CliRunner().invoke(main, ["--dsn", dsn, "configure", "params", "--batch-size", "8"])
    assert (result.exit_code, result.stderr, stored(dsn, "params")) == (0, "", before)


def test_configure_says_nothing_else_when_it_fails(dsn: str, endpoint: Endpoint) -> None:
    endpoint.respond = lambda _: Answer(401, b'{"error": "no key"}')
    result = add(dsn, "nomic", endpoint.url, "nomic-embed-text:v1.5", "--query-prefix", "")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "warning" not in result.stderr


def test_configure_warns_of_a_name_that_moves(dsn: str) -> None:
    ollama = "http://127.0.0.1:11434/v1"
    result = add(dsn, "moves", ollama, "nomic-embed-text", "--dimensions", "8")
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert "has no tag" in warning
    assert add(dsn, "stays", ollama, "nomic-embed-text:v1.5", "--dimensions", "8").stderr == ""
    assert "'latest'" in add(dsn, "latest", ollama, "nomic-embed-text:LATEST", "--dimensions", "8").stderr


def test_the_function_holds_the_file_that_python_reads(db: psycopg.Connection) -> None:
    (body,) = db.execute("SELECT prosrc FROM pg_proc WHERE proname = 'prefix_warnings'").fetchone() or ("",)
    assert (PACKAGE / "model_families.json").read_text(encoding="utf-8") in body
    assert (PACKAGE / "server" / "model_families.py").read_text(encoding="utf-8") in body
