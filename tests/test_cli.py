"""The command line: exit codes, one clear line on stderr, output for scripts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

import omop_emb
from omop_emb.cli import main
from tests.endpoint import Answer, Endpoint
from tests.installing import HEAD

COMMANDS = [
    *("activate", "configure", "demo", "doctor", "drop", "embedder", "evaluate", "export", "import", "index"),
    *("load-vocabulary", "map", "migrate", "rollback", "search", "status", "uninstall", "worker"),
]
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the developer's shell says out of the tests."""
    for name in list(os.environ):
        if name.startswith(("PG", "OMOP_EMB_")) and name != "PG_BINDIR":
            monkeypatch.delenv(name)


def run(dsn: str | None, *arguments: str, **options: str) -> Result:
    return CliRunner().invoke(main, [*(["--dsn", dsn] if dsn else []), *arguments], **options)  # type: ignore[arg-type]


def done(dsn: str | None, *arguments: str) -> str:
    """Run a command that must succeed without a word on stderr; returns what it prints."""
    result = run(dsn, *arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def failed(dsn: str | None, *arguments: str) -> list[str]:
    """Run a command that must fail with 1 and print nothing but stderr; returns its lines."""
    result = run(dsn, *arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2
    return lines


def add(dsn: str, endpoint: Endpoint, *options: str) -> Result:
    return run(dsn, "configure", "test", "--api-base", endpoint.url, "--model", "recorded", *options)


@pytest.fixture
def ready(dsn: str, endpoint: Endpoint) -> str:
    """Give a database that was configured and indexed by the commands."""
    done(
        dsn, "configure", "test", "--api-base", endpoint.url, "--model", "recorded", "--document-prefix", "doc: ",
        "--query-prefix", "query: ",
    )  # fmt: skip
    done(dsn, "index", "--json")
    endpoint.requests.clear()
    return dsn


def settings(dsn: str, name: str = "test") -> dict[str, object]:
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        row = connection.execute("SELECT * FROM omop_emb.config WHERE name = %s", [name]).fetchone()
    assert row is not None
    return dict(row)


def test_every_command_has_help() -> None:
    assert isinstance(main, click.Group)
    assert sorted(main.commands) == COMMANDS
    overview = done(None, "--help")
    for name, command in main.commands.items():
        assert re.search(rf"^| .*`{name}[ `]", README, re.MULTILINE)
        text = done(None, name, "--help")
        assert text == done(None, name, "-h")
        assert re.search(rf"^  {name} +{re.escape(command.get_short_help_str(30).removesuffix('...'))}", overview, re.M)
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert max(parameter.opts, key=len) in text


def test_version() -> None:
    assert omop_emb.__version__ in done(None, "--version")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["search"],
        ["search", "x", "-k", "many"],
        ["search", "x", "--no-such-option"],
        ["configure"],
        ["configure", "x", "--distance", "euclidean"],
        ["configure", "x", "--document-params", "[1]"],
        ["configure", "x", "--query-params", "{"],
        ["configure", "x", "--dimensions", "many"],
        ["migrate", "--sql"],
        ["embedder", "--port", "-1"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    result = run("host=127.0.0.1 port=1", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


EVERY_COMMAND = [
    ["migrate"],
    ["configure", "x", "--api-base", "http://127.0.0.1:1/v1", "--model", "x"],
    ["index"],
    ["search", "x"],
    ["status"],
    ["uninstall", "--yes"],
]


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("dsn", ["host=127.0.0.1 port=1 dbname=x", "postgresql://u:secret@127.0.0.1:1/x", "no=such"])
def test_no_server(dsn: str, arguments: list[str]) -> None:
    lines = failed(dsn, *arguments)
    assert "cannot connect to PostgreSQL" in lines[0]
    assert "secret" not in " ".join(lines)
    assert "OMOP_EMB_DSN" in lines[1]


@pytest.mark.parametrize("arguments", EVERY_COMMAND[1:5], ids=lambda arguments: arguments[0])
def test_not_installed(vocabulary_dsn: str, arguments: list[str]) -> None:
    assert failed(vocabulary_dsn, *arguments) == [
        "error: omop_emb is not installed in this database",
        "hint: Run omop-emb-admin migrate first.",
    ]


def test_not_configured(dsn: str) -> None:
    assert "there is no embedding configuration" in failed(dsn, "search", "x")[0]
    assert "there is no embedding configuration" in failed(dsn, "index")[0]
    assert "no configuration yet" in done(dsn, "status")
    assert json.loads(done(dsn, "status", "--json")) == []
    assert "--api-base and --model" in failed(dsn, "configure", "x")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "x", "--config", "none"], "there is no embedding configuration 'none'"),
        (["index", "--config", "none"], "there is no embedding configuration 'none'"),
        (["search", ""], "the text to embed is empty"),
        (["search", " \n"], "the text to embed is empty"),
        (["search", "x", "-k", "0"], "k is 0, it must be at least 1"),
        (["search", "x", "-k", "-1"], "k is -1, it must be at least 1"),
        (["configure", "test", "--document-prefix", "other: "], "holds 16 vectors"),
        (["configure", "test", "--hnsw-m", "1"], "hnsw_m is 1"),
        (["configure", "", "--api-base", "http://x", "--model", "x"], "a configuration needs a name"),
        (["migrate", "--cdm-schema", "none"], "schema 'none' has no table concept"),
    ],
)
def test_what_the_database_refuses_is_one_line(ready: str, arguments: list[str], message: str) -> None:
    lines = failed(ready, *arguments)
    assert message in lines[0]
    assert lines[1].startswith("hint: ")


@pytest.mark.parametrize("query", ["a\0b", "\udce9"])
def test_a_query_that_is_no_text_is_one_line(ready: str, query: str) -> None:
    assert failed(ready, "search", query)


def test_an_endpoint_that_fails(ready: str, endpoint: Endpoint) -> None:
    endpoint.respond = lambda _: Answer(status=401, body=b'{"error": {"message": "no key"}}')
    assert "answered HTTP 401: no key" in failed(ready, "search", "x")[0]
    with psycopg.connect(ready) as connection:
        connection.execute("UPDATE cdm.concept SET concept_name = 'new' WHERE concept_id = 378253")
    assert "answered HTTP 401: no key" in failed(ready, "index", "--json")[0]
    assert run(ready, "index").exit_code == 1


def test_search_as_a_table_and_as_json(ready: str, endpoint: Endpoint) -> None:
    rows = json.loads(done(ready, "search", "fièvre 🤒", "-k", "3", "--json"))
    assert endpoint.texts == ["query: fièvre 🤒"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {
        "rank", "concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id", "concept_code",
        "standard_concept", "similarity", "matched_text", "matched_kind", "semantic_rank", "lexical_rank",
    }  # fmt: skip
    table = done(ready, "search", "fièvre 🤒", "-k", "3")
    assert str(rows[0]["concept_id"]) in table
    assert f"{rows[0]['similarity']:.3f}" in table
    drugs = json.loads(done(ready, "search", "x", "--json", "--domain", "Drug", "--vocabulary", "RxNorm"))
    assert {row["concept_id"] for row in drugs} == {1112807, 1127433}
    drugs = json.loads(done(ready, "search", "x", "--json", "--domain", "Drug", "--standard-only"))
    assert {row["concept_id"] for row in drugs} == {1112807, 1127433}
    several = json.loads(
        done(ready, "search", "x", "--json", "--concept-class", "Ingredient", "--concept-class", "ATC 2nd")
    )
    assert {row["concept_id"] for row in several} == {1112807, 21604254}
    below = json.loads(done(ready, "search", "x", "--json", "--ancestor", "4329847"))
    assert {row["concept_id"] for row in below} == {4329847, 312327}
    assert json.loads(done(ready, "search", "x", "--json", "--domain", "none")) == []
    assert done(ready, "search", "--", "-x; [bold]%s")


def test_the_table_fits_a_terminal_and_says_what_matched(ready: str) -> None:
    name = "Glucose [moles/volume] in Blood"
    with psycopg.connect(ready, autocommit=True) as connection:
        connection.execute("UPDATE cdm.concept SET concept_name = %s WHERE concept_id = 3004249", [name])
        connection.execute("ALTER TABLE cdm.concept_synonym ALTER COLUMN concept_synonym_name TYPE text")
        connection.execute("INSERT INTO cdm.concept_synonym VALUES (3004249, %s, 0)", ["sweet " * 500])
        connection.execute("SELECT omop_emb_index()")
    shown = {}
    for query in (name, "heart attack", "C02", "sweet " * 500):
        table = done(ready, "search", query, "-k", "1")
        assert max(map(len, table.splitlines())) <= 80
        shown[query] = " ".join(table.split())
    assert "Glucose [moles/volume]" in shown[name]
    assert "name:" not in shown[name]
    assert "synonym: Heart attack" in shown["heart attack"]
    assert "code: C02" in shown["C02"]
    assert len(shown["sweet " * 500]) < 600
    assert done(ready, "search", "x", "--domain", "none") == "nothing found\n"


def test_the_mode_of_a_search_and_its_warnings(ready: str) -> None:
    (first, *_) = json.loads(done(ready, "search", "c 02", "--json"))
    assert (first["concept_id"], first["matched_kind"], first["lexical_rank"]) == (21604254, "code", 1)
    semantic = json.loads(done(ready, "search", "c 02", "--json", "--mode", "semantic"))
    assert [(row["semantic_rank"], row["lexical_rank"]) for row in semantic] == [(n, None) for n in range(1, 11)]
    with psycopg.connect(ready, autocommit=True) as connection:
        connection.execute("UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:1/v1', lexical_fallback = true")
    result = run(ready, "search", "hedache")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: these answers compare letters, not meaning: ")
    assert "378253" in result.stdout
    result = run(ready, "search", "hedache", "--json")
    assert [row["concept_id"] for row in json.loads(result.stdout)] == [378253]


def test_index_reports_and_fails_when_a_text_failed(ready: str, endpoint: Endpoint) -> None:
    assert json.loads(done(ready, "index", "--json")) == {
        "embedded": 0, "reused": 0, "removed": 0, "failed": 0, "remaining": 0,
    }  # fmt: skip
    with psycopg.connect(ready) as connection:
        connection.execute("UPDATE cdm.concept SET concept_name = 'bad' WHERE concept_id = 378253")
        connection.execute("UPDATE cdm.concept SET concept_name = 'good' WHERE concept_id = 320128")
    endpoint.respond = lambda request: Answer(status=400) if "doc: bad" in request["input"] else None
    result = run(ready, "index", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"embedded": 1, "reused": 0, "removed": 2, "failed": 1, "remaining": 0}
    status = json.loads(done(ready, "status", "--json"))
    assert (status[0]["name"], status[0]["pending"], status[0]["failed"]) == ("test", 1, 1)
    assert "HTTP 400" in status[0]["last_error"]
    assert "answered HTTP" in done(ready, "status")
    assert "0 texts embedded" in run(ready, "index").stdout


def test_prefixes_come_from_the_environment_when_unset(
    dsn: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX", "search_document: ")
    monkeypatch.setenv("OMOP_EMB_QUERY_EMBEDDING_PREFIX", "search_query: ")
    result = add(dsn, endpoint)
    assert result.exit_code == 0
    assert "'search_document: '" in result.stdout
    assert (settings(dsn)["document_prefix"], settings(dsn)["query_prefix"]) == ("search_document: ", "search_query: ")
    assert endpoint.texts == ["search_document: diabetes"]

    monkeypatch.setenv("OMOP_EMB_QUERY_EMBEDDING_PREFIX", "changed: ")
    done(dsn, "configure", "test", "--batch-size", "8")
    assert settings(dsn)["query_prefix"] == "search_query: "
    result = run(
        dsn,
        "configure",
        "given",
        "--api-base",
        endpoint.url,
        "--model",
        "m",
        "--document-prefix",
        "",
        "--query-prefix",
        "q",
    )
    assert result.exit_code == 0
    assert "the document prefix is empty" in result.stderr
    assert (settings(dsn, "given")["document_prefix"], settings(dsn, "given")["query_prefix"]) == ("", "q")


def test_without_any_prefix_a_warning_and_no_error(dsn: str, endpoint: Endpoint) -> None:
    result = add(dsn, endpoint)
    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == 2
    assert (settings(dsn)["document_prefix"], settings(dsn)["query_prefix"]) == ("", "")


def test_configure_changes_what_is_given_and_nothing_else(ready: str, endpoint: Endpoint) -> None:
    before = settings(ready)
    done(ready, "configure", "test", "--query-prefix", "Q: ", "--domains", "Drug, Condition", "--no-synonyms")
    changed = {"query_prefix": "Q: ", "domains": ["Drug", "Condition"], "synonyms": False}
    assert settings(ready) == before | changed
    done(ready, "configure", "test")
    assert settings(ready) == before | changed
    assert endpoint.requests == []
    done(ready, "configure", "test", "--query-params", '{"a": "%s"}', "--timeout-ms", "500", "--include-invalid")
    assert settings(ready) == before | changed | {
        "query_params": {"a": "%s"}, "timeout_ms": 500, "include_invalid": True,
    }  # fmt: skip
    done(ready, "configure", "test", "--document-prefix", "other: ", "--discard-vectors")
    assert settings(ready)["document_prefix"] == "other: "
    with psycopg.connect(ready) as connection:
        assert connection.execute("SELECT FROM omop_emb.embedding_1").fetchall() == []


def test_a_refused_change_does_not_discard_the_vectors(ready: str) -> None:
    failed(ready, "configure", "test", "--hnsw-m", "1", "--discard-vectors")
    with psycopg.connect(ready) as connection:
        assert len(connection.execute("SELECT FROM omop_emb.embedding_1").fetchall()) == 16


def test_install_and_uninstall(vocabulary_dsn: str) -> None:
    assert f"installed (schema revision {HEAD}) for the vocabulary in cdm" in done(vocabulary_dsn, "migrate")
    assert "is up to date" in done(vocabulary_dsn, "migrate", "--cdm-schema", "cdm")
    asked = run(vocabulary_dsn, "uninstall", input="n\n")
    assert asked.exit_code == 1
    assert "is up to date" in done(vocabulary_dsn, "migrate")
    result = run(vocabulary_dsn, "uninstall", "--yes")
    assert result.exit_code == 0
    assert result.stdout == "omop_emb removed\n"
    with psycopg.connect(vocabulary_dsn) as connection:
        assert connection.execute("SELECT to_regnamespace('omop_emb')").fetchone() == (None,)


def test_a_real_process_with_its_environment(ready: str, endpoint: Endpoint) -> None:
    """The variables OMOP_EMB_DSN and PG*, and stdout apart from stderr."""
    parts = psycopg.conninfo.conninfo_to_dict(ready)
    by_libpq = {
        "PGHOST": str(parts["host"]), "PGPORT": str(parts["port"]), "PGUSER": "postgres",
        "PGDATABASE": str(parts["dbname"]),
    }  # fmt: skip

    def process(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "omop_emb.cli", *arguments]
        variables = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8", **environment}
        return subprocess.run(command, check=False, capture_output=True, text=True, env=variables)

    for environment in ({"OMOP_EMB_DSN": ready}, by_libpq):
        answer = process(environment, "search", "fever", "--json", "-k", "2")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert len(json.loads(answer.stdout)) == 2
    assert endpoint.texts == ["query: fever"]
    answer = process({"OMOP_EMB_DSN": ready}, "index")
    assert answer.returncode == 0
    assert answer.stdout.startswith("0 texts embedded")
    answer = process({"OMOP_EMB_DSN": ready}, "search", "")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: the text to embed is empty\nhint: ")
    answer = process({}, "search")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Traceback" not in answer.stderr
