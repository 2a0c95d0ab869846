"""Vectors in a file: bit for bit there and back, and nothing but a whole and fitting file is taken."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from omop_emb import transfer, vectorfile
from omop_emb.cli import main
from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.errors import OmopEmbError
from omop_emb.transfer import export_vectors, import_vectors
from tests.conftest import Connect, new_database
from tests.endpoint import Endpoint

SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
STORED = (
    "SELECT text_hash, embedded_at, live, vector_send(embedding::vector) FROM omop_emb.embedding_1 ORDER BY text_hash"
)


@pytest.fixture
def other(cluster: Cluster, installed_template: str) -> Iterator[psycopg.Connection]:
    """Give a connection to another site's database, with the same vocabulary and no configuration."""
    for dsn in new_database(cluster, installed_template):
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection


@pytest.fixture
def exported(indexed: psycopg.Connection, dsn: str, tmp_path: Path) -> Path:
    """Give the file of the 16 vectors of the configuration 'test'."""
    path = tmp_path / "vectors.parquet"
    take(dsn, path)
    return path


def take(dsn: str, path: Path, config: str | None = None) -> transfer.Exported:
    with psycopg.connect(dsn) as connection:
        return export_vectors(connection, path, config)


def stored(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(STORED).fetchall()


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--dsn", dsn, *arguments])


def awkward(dtype: type[np.floating[Any]], count: int) -> np.ndarray[Any, Any]:
    """Return ``count`` vectors of 8 numbers: zeros of both signs, denormals, extremes, and random bits."""
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    bits = np.random.default_rng(1).integers(0, 2**info.bits, 8 * count, dtype=np.uint64)
    numbers = bits.astype(f"u{info.bits // 8}").view(dtype)
    numbers = np.where(np.isfinite(numbers), numbers, dtype(1)).reshape(count, 8)
    numbers[0] = [-0.0, 0.0, 1.0, tiny, -tiny, info.max, info.min, info.tiny]
    numbers[:, 2] = 1
    return numbers


@pytest.mark.parametrize(("storage", "dtype"), [("vector", np.float32), ("halfvec", np.float16)])
def test_there_and_back_bit_for_bit(
    db: psycopg.Connection,
    dsn: str,
    other: psycopg.Connection,
    endpoint: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storage: str,
    dtype: type[np.floating[Any]],
) -> None:
    monkeypatch.setattr(transfer, "EXPORTED_NUMBERS", 40)
    monkeypatch.setattr(transfer, "IMPORTED_NUMBERS", 24)
    # Their numbers reach further than those that a cosine can be computed of.
    settings = {"api_base": endpoint.url, **SETTINGS, "distance": "l1", "storage": storage}
    configure(db, "here", settings)
    db.execute("SELECT * FROM omop_emb_index()")
    numbers = awkward(dtype, 16)
    for (text_hash, *_), vector in zip(stored(db), numbers, strict=True):
        db.execute(
            sql.SQL("UPDATE omop_emb.embedding_1 SET embedding = %s::{} WHERE text_hash = %s").format(
                sql.Identifier(storage)
            ),
            ["[" + ",".join(map(repr, vector.tolist())) + "]", text_hash],
        )
    before = stored(db)
    path = tmp_path / "vectors.parquet"
    done = take(dsn, path)
    assert (done.config, done.vectors, done.bytes) == ("here", 16, path.stat().st_size)
    assert take(dsn, tmp_path / "again.parquet").sha256 == done.sha256

    configure(other, "there", settings)
    endpoint.requests.clear()
    steps: list[tuple[str, int, int | None]] = []
    result = import_vectors(other, path, progress=lambda *step: steps.append(step))
    assert result == transfer.Imported("there", added=16)
    assert stored(other) == before
    assert ("checking", 16, 16) in steps
    assert ("importing", 16, 16) in steps
    assert endpoint.requests == []
    assert other.execute("SELECT indexed, pending, index_valid FROM omop_emb.status").fetchone() == (10, 0, True)
    assert import_vectors(other, path) == transfer.Imported("there", known=16)

    # What others read of it with their own tools.
    table = pq.read_table(path)
    assert pq.ParquetFile(path).metadata.num_row_groups == 4
    assert [str(column.type) for column in table.schema] == [
        "fixed_size_binary[32]",
        "timestamp[us, tz=UTC]",
        f"fixed_size_list<element: {np.dtype(dtype).name.replace('float16', 'halffloat').replace('float32', 'float')}"
        " not null>[8]",
    ]
    values = table["embedding"].combine_chunks().flatten().to_numpy().reshape(16, 8)
    assert values.tobytes() == numbers.tobytes()
    assert table["embedded_at"].to_pylist() == [at for _, at, _, _ in before]
    metadata = pq.ParquetFile(path).metadata.metadata
    assert json.loads(metadata[b"omop_emb.provenance"]) == {
        "model": "recorded", "dimensions": 8, "document_prefix": "doc: ", "document_params": {}, "distance": "l1",
        "storage": storage, "normalised": False,
    }  # fmt: skip
    assert b"Headache" not in path.read_bytes()
    assert hashlib.sha256(b"Headache").digest() in table["text_hash"].to_pylist()


def test_texts_that_differ_on_the_other_site_are_left_to_be_embedded(
    exported: Path, other: psycopg.Connection, endpoint: Endpoint
) -> None:
    other.execute("UPDATE cdm.concept SET concept_name = 'Kopfschmerz' WHERE concept_id = 378253")
    other.execute("DELETE FROM cdm.concept WHERE concept_id = 4237458")
    configure(other, "there", {"api_base": endpoint.url, **SETTINGS})
    endpoint.requests.clear()
    assert import_vectors(other, exported) == transfer.Imported("there", added=12, unused=4, pending=1)
    assert other.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (False,)
    assert other.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchone() == (1, 0)
    assert endpoint.texts == ["doc: Kopfschmerz"]
    assert other.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (True,)


def test_other_settings_are_refused_with_what_would_fit(
    exported: Path, other: psycopg.Connection, endpoint: Endpoint
) -> None:
    with pytest.raises(OmopEmbError, match="there is no embedding configuration") as raised:
        import_vectors(other, exported)
    fits = (
        "--api-base URL --model recorded --dimensions 8 --document-prefix 'doc: ' --document-params '{}'"
        " --distance cosine --storage vector --query-prefix PREFIX"
    )
    assert (raised.value.hint or "").endswith(f"omop-emb-admin configure NEWNAME {fits}")
    configure(other, "there", {"api_base": endpoint.url, **SETTINGS, "document_prefix": "doc:"})
    for wanted in (None, "there"):
        with pytest.raises(OmopEmbError) as raised:
            import_vectors(other, exported, wanted)
        assert '"doc: "' in raised.value.message
        assert '"doc:"' in raised.value.message
        assert (raised.value.hint or "").endswith(f"omop-emb-admin configure NEWNAME {fits}")
    with pytest.raises(OmopEmbError, match="no embedding configuration 'a b'") as raised:
        import_vectors(other, exported, "a b")
    assert "configure 'a b' --api-base" in (raised.value.hint or "")
    assert stored(other) == []
    assert other.execute("SELECT count(*) FROM omop_emb.concept").fetchone() == (0,)


def resealed(path: Path, table: pa.Table, **metadata: str) -> Path:
    """Write a file whose own digest is right, whatever it holds."""
    given = {key.decode(): value.decode() for key, value in pq.ParquetFile(path).metadata.metadata.items()}
    given.pop("ARROW:schema")
    given |= {f"omop_emb.{key}": value for key, value in metadata.items()} | {vectorfile.FILE_KEY: vectorfile.NO_DIGEST}
    target = path.with_name("resealed.parquet")
    with pq.ParquetWriter(target, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(given)
    with target.open("r+b") as file:
        position, _ = vectorfile.find_file_digest(file)
        digest = vectorfile.file_digest(file, position)
        file.seek(position)
        file.write(digest.encode())
    return target


def test_only_whole_files_are_taken(exported: Path, other: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(other, "there", {"api_base": endpoint.url, **SETTINGS})

    def refused(path: Path, reason: str | None = None) -> None:
        with pytest.raises(OmopEmbError, match=reason) as raised:
            import_vectors(other, path)
        assert str(path) in raised.value.message
        assert "\n" not in raised.value.message

    whole = exported.read_bytes()
    damaged = exported.with_name("damaged.parquet")
    for position in range(len(whole)):
        damaged.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :])
        refused(damaged)
    for length in range(0, len(whole), 7):
        damaged.write_bytes(whole[:length])
        refused(damaged)
    damaged.write_bytes(whole + b"\0")
    refused(damaged, "does not end as a Parquet file does")
    damaged.write_bytes(b"")
    refused(damaged, "is empty")
    damaged.write_bytes(b"text_hash,embedding\n" * 10)
    refused(damaged, "is not a Parquet file")
    pq.write_table(pa.table({"x": [1, 2]}), damaged)
    refused(damaged, "but not, or no longer, one that omop-emb-admin export wrote")
    refused(exported.parent, "is not a file")
    refused(exported.with_name("none"), "No such file")

    table = pq.read_table(exported).replace_schema_metadata(None)
    hashes = table.column(0).to_pylist()
    refused(resealed(exported, table.slice(1)), "holds other vectors than were exported")
    refused(resealed(exported, table.take([1, 0])), "twice or out of order")
    refused(resealed(exported, table.set_column(0, "text_hash", pa.array(hashes))), "has other columns")
    refused(resealed(exported, table, provenance='{"model": "x"}'), "names other settings")
    refused(resealed(exported, table, provenance="no json"), "Expecting value")
    for number, reason in ((np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "a vector of zeros")):
        column = pa.FixedSizeListArray.from_arrays(pa.array([number] * 128, pa.float32()), type=table.schema[2].type)
        refused(resealed(exported, table.set_column(2, table.schema[2], column)), reason)
    assert stored(other) == []
    result = run(other.info.dsn, "import", str(damaged))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert import_vectors(other, resealed(exported, table)).added == 16


def test_an_export_that_fails_leaves_what_was_there(indexed: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.parquet"
    path.write_text("before")
    configure(indexed, "empty", {"api_base": "http://localhost/v1", "dimensions": 8, **SETTINGS})
    with pytest.raises(OmopEmbError, match="'empty' has no vectors to export") as raised:
        take(dsn, path, "empty")
    assert "index --config empty" in (raised.value.hint or "")
    with pytest.raises(OmopEmbError, match="no embedding configuration 'none'"):
        take(dsn, path, "none")
    for place in (tmp_path, tmp_path / "none" / "x", path / "x", Path("/proc/x"), Path("/dev/null")):
        with pytest.raises(OmopEmbError, match=f"cannot write {place}: "):
            take(dsn, place)

    # The disk is full: at the first row group, in the footer.
    (tmp_path / "whole.parquet").touch()
    size = take(dsn, tmp_path / "whole.parquet").bytes
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2);"
        "from omop_emb.cli import main;"
        "sys.argv[1:] = ['--dsn', *sys.argv[2:]]; main()"
    )
    for limit in (0, size - 1):
        command = [sys.executable, "-W", "error", "-c", program, str(limit), dsn, "export", str(path), "--json"]
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith(f"error: cannot write {path}: File too large\nhint: Nothing was written.")
    assert path.read_text() == "before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["vectors.parquet", "whole.parquet"]

    link = tmp_path / "link"
    link.symlink_to(path)
    result = run(dsn, "export", str(link))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"16 vectors of configuration 'test' exported to {link} (")
    assert link.is_symlink()
    assert path.stat().st_size == size
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_no_file(
    indexed: psycopg.Connection, dsn: str, connect: Connect, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "vectors.parquet"
    program = (
        "import sys; from omop_emb import transfer; transfer.EXPORTED_NUMBERS = 8;from omop_emb.cli import main; main()"
    )
    # The third row waits for good.
    hashes = [row[0] for row in stored(indexed)]
    indexed.execute(
        "CREATE OR REPLACE FUNCTION omop_emb.export_vectors(config text, after bytea, max_rows int)"
        " RETURNS TABLE (text_hash bytea, embedded_at timestamptz, embedding bytea) LANGUAGE plpgsql AS $$ BEGIN"
        " IF after >= '\\x" + hashes[2].hex() + "' THEN PERFORM pg_sleep(60); END IF;"
        " RETURN QUERY SELECT e.text_hash, e.embedded_at, vector_send(e.embedding) FROM omop_emb.embedding_1 e"
        " WHERE e.text_hash > coalesce(after, '') ORDER BY 1 LIMIT max_rows; END $$"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--dsn", dsn, "export", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    deadline = time.monotonic() + 20
    while indexed.execute(sleeping).fetchone() != (1,) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".partial"]
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_imports_and_an_index_run_at_once(
    exported: Path, other: psycopg.Connection, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "IMPORTED_NUMBERS", 16)
    configure(other, "there", {"api_base": endpoint.url, **SETTINGS})
    errors: list[BaseException] = []
    results: list[transfer.Imported] = []
    start = threading.Barrier(4)

    def work(job: Any) -> None:
        try:
            with psycopg.connect(other.info.dsn, autocommit=True) as connection:
                start.wait()
                job(connection)
        except Exception as error:
            errors.append(error)

    def take_in(connection: psycopg.Connection) -> None:
        results.append(import_vectors(connection, exported))

    def embed(connection: psycopg.Connection) -> None:
        connection.execute("SELECT * FROM omop_emb_index()")

    threads = [threading.Thread(target=work, args=(job,)) for job in (take_in, embed, take_in, embed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(result.added + result.known == 16 for result in results)
    assert other.execute("SELECT indexed, pending, index_valid FROM omop_emb.status").fetchone() == (10, 0, True)


def test_an_export_is_of_one_moment(
    indexed: psycopg.Connection, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "EXPORTED_NUMBERS", 8)
    calls: list[tuple[Any, ...]] = []

    def change(*step: Any) -> None:
        if not calls:
            indexed.execute("UPDATE cdm.concept SET concept_name = concept_name || ' changed'")
            indexed.execute("SELECT * FROM omop_emb_index()")
            indexed.execute("DELETE FROM omop_emb.embedding_1 WHERE NOT live")
        calls.append(step)

    hashes = [row[0] for row in stored(indexed)]
    with psycopg.connect(dsn) as connection:
        assert export_vectors(connection, tmp_path / "x.parquet", progress=change).vectors == 16
    assert calls[-1] == ("exporting", 16, 16)
    assert pq.read_table(tmp_path / "x.parquet")["text_hash"].to_pylist() == hashes


def test_who_may(indexed: psycopg.Connection, connect: Connect, tmp_path: Path) -> None:
    for role in ("admin", "reader"):
        indexed.execute(f"CREATE ROLE transfer_{role} LOGIN IN ROLE omop_emb_{role}".encode())
    try:
        admin, reader = connect(user="transfer_admin"), connect(user="transfer_reader")
        assert export_vectors(connect(user="transfer_admin"), tmp_path / "x").vectors == 16
        assert import_vectors(admin, tmp_path / "x").known == 16
        for job in (import_vectors, export_vectors):
            with pytest.raises(OmopEmbError, match="permission denied") as raised:
                job(reader, tmp_path / "x")
            assert "omop_emb_admin" in (raised.value.hint or "")
    finally:
        indexed.execute("DROP ROLE transfer_admin; DROP ROLE transfer_reader")


def test_without_pyarrow_the_error_says_how_to_get_it(
    db: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("omop_emb.vectorfile")
    monkeypatch.delitem(sys.modules, "omop_emb.vectorfile")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for job in (export_vectors, import_vectors):
        with pytest.raises(OmopEmbError, match="need pyarrow") as raised:
            job(db, tmp_path / "x")
        assert raised.value.hint == "pip install 'omop-emb-postgres[parquet]'"
