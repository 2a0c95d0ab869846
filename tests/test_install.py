"""migrate: what it changes, what it refuses, and that nothing is half done."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from omop_emb import install, rendering, resources
from omop_emb.demo.binaries import find_binaries
from omop_emb.demo.cluster import Cluster
from omop_emb.errors import OmopEmbError
from omop_emb.install import migrate, migration_script, uninstall
from tests.conftest import VOCABULARY
from tests.endpoint import Endpoint
from tests.installing import HEAD, ROLES, check_it_works, dump, execute, refused, tool


def test_a_database_without_a_vocabulary_is_refused(bare_dsn: str) -> None:
    assert "--cdm-schema" in (refused(bare_dsn, "^no schemas have a table concept").hint or "")
    refused(bare_dsn, "schema 'vocab' has no table concept", "vocab")


def test_what_is_no_omop_vocabulary_is_refused(vocabulary_dsn: str) -> None:
    execute(vocabulary_dsn, "CREATE SCHEMA web; CREATE VIEW web.concept AS TABLE cdm.concept")
    execute(vocabulary_dsn, "CREATE SCHEMA other; CREATE TABLE other.concept (concept_id int, concept_name text)")
    error = refused(vocabulary_dsn, "3 schemas have a table concept")
    assert "cdm, other, web" in (error.hint or "")
    refused(vocabulary_dsn, "web.concept is not a table", "web")
    refused(vocabulary_dsn, "lacks concept_class_id, concept_code, domain_id, invalid_reason", "other")
    refused(vocabulary_dsn, "schema 'CDM' has no table concept", "CDM")


def test_a_role_that_is_no_superuser_is_refused(vocabulary_dsn: str) -> None:
    execute(vocabulary_dsn, "CREATE ROLE plain LOGIN")
    try:
        as_plain = psycopg.conninfo.make_conninfo(vocabulary_dsn, user="plain")
        before = dump(vocabulary_dsn)
        for action in (migrate, uninstall):
            with pytest.raises(OmopEmbError, match="'plain' is not a superuser"):
                action(as_plain)
        assert dump(vocabulary_dsn) == before
    finally:
        execute(vocabulary_dsn, "DROP ROLE plain")


def test_a_second_run_changes_nothing(dsn: str, endpoint: Endpoint) -> None:
    check_it_works(dsn, endpoint)
    before = dump(dsn)
    done = migrate(dsn)
    assert (done.cdm_schema, done.revision_before) == ("cdm", done.revision)
    assert dump(dsn) == before
    assert len(execute(dsn, "SELECT * FROM omop_emb_search('x', 100)")) == 10


def test_eight_at_once_in_two_databases_of_a_new_cluster(own_cluster: Cluster) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "omop_emb.cli", "--dsn", own_cluster.dsn_for(name), "migrate"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second") * 4
    ]
    outputs = [process.communicate(timeout=100) for process in running]
    assert [process.returncode for process in running] == [0] * 8, outputs
    assert sum("installed" in out for out, _ in outputs) == 2
    assert sum("is up to date" in out for out, _ in outputs) == 6
    assert [err for _, err in outputs] == [""] * 8
    assert dump(own_cluster.dsn_for("first")) == dump(own_cluster.dsn_for("second"))


def broken_sql(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    broken = directory / "broken.sql"
    broken.write_text("CREATE TABLE omop_emb.half (); SELECT * FROM omop_emb.no_such_table;")
    files = list(rendering.replaceable_files())
    monkeypatch.setattr(install, "replaceable_files", lambda: [*files, broken])


def broken_revision(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    copy = shutil.copytree(resources.MIGRATIONS, directory / "migrations")
    (copy / "versions/9999_broken.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE omop_emb.half ()')\n    op.execute('SELECT 1/0')\n"
    )
    monkeypatch.setattr(install, "MIGRATIONS", copy)


@pytest.mark.parametrize("breaking", [broken_sql, broken_revision])
def test_a_broken_file_leaves_nothing_behind(
    own_cluster: Cluster,
    breaking: Callable[[pytest.MonkeyPatch, Path], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    first, second = own_cluster.dsn_for("first"), own_cluster.dsn_for("second")
    migrate(second)
    uninstall(second)
    with monkeypatch.context() as patch:
        breaking(patch, tmp_path)
        refused(first, "no_such_table|division by zero|not installed")
    assert execute(first, ROLES) == []
    migrate(first)
    second_directory = tmp_path / "second"
    second_directory.mkdir()
    with monkeypatch.context() as patch:
        breaking(patch, second_directory)
        refused(first, "no_such_table|division by zero|not installed")
    assert len(execute(first, ROLES)) == 3


def test_the_printed_script_gives_the_identical_schema_through_psql(
    vocabulary_dsn: str, dsn: str, tmp_path: Path
) -> None:
    script = tmp_path / "migrate.sql"
    script.write_text(migration_script("cdm"), encoding="utf-8")
    tool("psql", "-X", "-q", "-d", vocabulary_dsn, "-f", str(script))
    assert dump(vocabulary_dsn) == dump(dsn)

    again = subprocess.run(
        [str(find_binaries()[0] / "psql"), "-X", "-q", "-d", vocabulary_dsn, "-f", str(script)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 3
    assert f"this script starts from revision base, the database has {HEAD}" in again.stderr
    assert dump(vocabulary_dsn) == dump(dsn)
    tool("psql", "-X", "-q", "-d", vocabulary_dsn, "-f", "-", stdin=migration_script("cdm", from_revision=HEAD))
    assert dump(vocabulary_dsn) == dump(dsn)
    assert migrate(vocabulary_dsn).revision_before == HEAD
    assert dump(vocabulary_dsn) == dump(dsn)


def test_extensions_in_other_schemas_and_odd_names(bare_dsn: str, endpoint: Endpoint) -> None:
    execute(bare_dsn, 'CREATE SCHEMA "My Extensions"; CREATE EXTENSION vector SCHEMA "My Extensions"')
    execute(bare_dsn, "CREATE SCHEMA trigrams; CREATE EXTENSION pg_trgm SCHEMA trigrams")
    execute(bare_dsn, VOCABULARY + '; ALTER SCHEMA cdm RENAME TO "My CDM"')
    before = dump(bare_dsn)
    assert migrate(bare_dsn).cdm_schema == "My CDM"
    installed = dump(bare_dsn)
    migrate(bare_dsn)
    assert dump(bare_dsn) == installed
    check_it_works(bare_dsn, endpoint)
    execute(bare_dsn, "SELECT * FROM omop_emb_search('x', ancestor_concept_id => 4329847)")
    uninstall(bare_dsn)
    assert dump(bare_dsn) == before
    script = migration_script("My CDM", "My Extensions", "trigrams")
    tool("psql", "-X", "-q", "-d", bare_dsn, "-f", "-", stdin=script)
    assert dump(bare_dsn) == installed


def test_moving_to_another_vocabulary_schema(dsn: str, endpoint: Endpoint) -> None:
    check_it_works(dsn, endpoint)
    triggers = "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'omop\\_emb\\_%' ORDER BY 1"
    execute(dsn, "CREATE SCHEMA v2; CREATE TABLE v2.concept AS TABLE cdm.concept")
    execute(dsn, "UPDATE v2.concept SET concept_name = 'Pain' WHERE concept_id = 378253")
    assert migrate(dsn, "v2").cdm_schema == "v2"
    assert execute(dsn, triggers) == [("v2.concept",)]
    assert execute(dsn, "SELECT pending, stale FROM omop_emb.status") == [(1, 5)]
    endpoint.requests.clear()
    assert execute(dsn, "SELECT embedded, removed FROM omop_emb_index()") == [(1, 8)]
    assert endpoint.texts == ["doc: Pain"]
    execute(dsn, "DELETE FROM cdm.concept")
    assert len(execute(dsn, "SELECT FROM omop_emb_search('x', 100)")) == 10
    assert migrate(dsn).cdm_schema == "v2"
    execute(dsn, "DELETE FROM v2.concept")
    assert execute(dsn, "SELECT FROM omop_emb_search('x', 100)") == []


@pytest.mark.parametrize("table", ["concept", "concept_synonym"])
def test_a_vocabulary_table_dropped_and_created_again(dsn: str, endpoint: Endpoint, table: str) -> None:
    check_it_works(dsn, endpoint)
    execute(dsn, f"CREATE TABLE cdm.copy AS TABLE cdm.{table}")
    execute(dsn, f"DROP TABLE cdm.{table}")
    execute(dsn, f"ALTER TABLE cdm.copy RENAME TO {table}")
    assert execute(dsn, "SELECT triggers_installed FROM omop_emb.status") == [(False,)]
    with pytest.raises(
        psycopg.Error, match=rf"omop_emb_owner may not read the vocabulary table cdm.{table}\n"
    ) as raised:
        execute(dsn, "SELECT omop_emb_index()")
    assert raised.value.diag.sqlstate == "OE005"
    assert "omop-emb-admin migrate" in (raised.value.diag.message_hint or "")
    assert len(execute(dsn, "SELECT FROM omop_emb_search('x', 100)")) == 10
    migrate(dsn)
    assert execute(dsn, "SELECT triggers_installed, pending, stale FROM omop_emb.status") == [(True, 0, 0)]
    assert execute(dsn, "SELECT embedded, removed, remaining FROM omop_emb_index()") == [(0, 0, 0)]
    execute(dsn, f"DELETE FROM cdm.{table} WHERE concept_id = 4329847")
    assert execute(dsn, "SELECT concept_ids::text FROM omop_emb.queue") == [("{[4329847,4329848)}",)]


def test_a_vocabulary_table_that_is_missing_now(dsn: str, endpoint: Endpoint) -> None:
    check_it_works(dsn, endpoint)
    execute(dsn, "DROP TABLE cdm.concept_synonym, cdm.concept_ancestor")
    assert execute(dsn, "SELECT removed FROM omop_emb_index()") == [(7,)]
    execute(dsn, "DROP TABLE cdm.concept")
    assert len(execute(dsn, "SELECT FROM omop_emb_search('x', 100)")) == 10
    execute(dsn, "SELECT * FROM omop_emb.status")
    with pytest.raises(psycopg.Error, match=r"the vocabulary table .*concept does not exist") as raised:
        execute(dsn, "SELECT * FROM omop_emb_index()")
    assert raised.value.diag.sqlstate == "OE005"
    uninstall(dsn)


@pytest.fixture
def server_without_extensions(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Path]]:
    """Run a server from a relocated copy; yields it with the directory of its extensions' control files."""
    binaries, major = find_binaries()
    if binaries != Path(f"/usr/lib/postgresql/{major}/bin"):
        pytest.skip("only Debian's layout is known to be relocatable")
    with tempfile.TemporaryDirectory(prefix="omop_emb_relocated_", dir="/tmp") as directory:
        root = Path(directory)
        root.chmod(0o755)
        copied = root / f"lib/postgresql/{major}"
        copied.mkdir(parents=True)
        shutil.copytree(binaries, copied / "bin", ignore=shutil.ignore_patterns("pg_config"))
        (copied / "lib").symlink_to(binaries.parent / "lib")
        share = root / f"share/postgresql/{major}"
        shutil.copytree(f"/usr/share/postgresql/{major}", share)
        monkeypatch.setenv("PG_BINDIR", str(copied / "bin"))
        with Cluster() as running:
            yield running, share / "extension"


@pytest.mark.parametrize(
    ("control", "package"), [("vector", "postgresql-{}-pgvector"), ("plpython3u", "postgresql-plpython3-{}")]
)
def test_a_server_without_an_extension_is_refused(
    server_without_extensions: tuple[Cluster, Path], control: str, package: str
) -> None:
    running, extensions = server_without_extensions
    (extensions / f"{control}.control").unlink()
    execute(running.dsn, VOCABULARY)
    error = refused(running.dsn, f"the server does not have the extension {control}")
    assert package.format(running.major) in (error.hint or "")
