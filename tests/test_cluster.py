"""The throwaway cluster: it starts, serves, and leaves nothing behind however it ends."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from omop_emb.demo.binaries import NEEDED_EXTENSIONS, find_binaries
from omop_emb.demo.cluster import Cluster
from omop_emb.errors import OmopEmbError


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    with Cluster(settings={"work_mem": "5MB", "search_path": "public"}, environment={"MARK": "it's"}) as cluster:
        yield cluster


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def server_pid(cluster: Cluster) -> int:
    return int((cluster.socket_directory / "data/postmaster.pid").read_text().splitlines()[0])


def test_it_serves_with_the_extensions_and_settings(own_cluster: Cluster) -> None:
    with psycopg.connect(own_cluster.dsn) as connection:
        connection.execute("CREATE EXTENSION plpython3u; CREATE EXTENSION vector")
        for setting, value in (("work_mem", "5MB"), ("fsync", "off"), ("server_encoding", "UTF8")):
            assert connection.execute(f"SHOW {setting}").fetchone() == (value,)
        version = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
        assert version is not None
        assert version[0] // 10_000 == own_cluster.major >= 15
        connection.execute(
            "CREATE FUNCTION mark() RETURNS text LANGUAGE plpython3u AS $$import os; return os.environ.get('MARK')$$"
        )
        assert connection.execute("SELECT mark()").fetchone() == ("it's",)
        connection.rollback()


def test_the_psql_line_works_for_another_user(own_cluster: Cluster) -> None:
    assert shutil.which("psql")
    other = "nobody" if os.geteuid() == 0 else None
    line = f"{own_cluster.psql} -XAtc {shlex.quote('SELECT current_user')}"
    done = subprocess.run(line, shell=True, check=False, capture_output=True, text=True, cwd="/", user=other)
    assert (done.returncode, done.stdout, done.stderr) == (0, "postgres\n", "")


def test_tcp_needs_the_password_and_the_directory_is_private(own_cluster: Cluster) -> None:
    tcp = {"host": "127.0.0.1", "port": own_cluster.port, "user": "postgres", "dbname": "postgres"}
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**tcp, password="wrong")  # type: ignore[arg-type]
    psycopg.connect(**tcp, password=own_cluster.password).close()  # type: ignore[arg-type]
    assert own_cluster.socket_directory.stat().st_mode & 0o777 == 0o700


def test_databases_are_created_from_templates_and_dropped(own_cluster: Cluster) -> None:
    name = 'odd "name"'
    own_cluster.create_database("first")
    with psycopg.connect(own_cluster.dsn_for("first")) as connection:
        connection.execute("CREATE TABLE mark AS SELECT 7 AS n")
    own_cluster.create_database(name, template="first")
    with psycopg.connect(own_cluster.dsn_for(name)) as connection:
        assert connection.execute("SELECT n FROM mark").fetchone() == (7,)
        own_cluster.drop_database(name)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    own_cluster.drop_database(name)
    own_cluster.drop_database("first")


def test_two_at_once_and_nothing_is_left() -> None:
    with Cluster() as one, Cluster() as two:
        assert (one.port, one.socket_directory) != (two.port, two.socket_directory)
        for cluster in (one, two):
            psycopg.connect(cluster.dsn).close()
        pids = [server_pid(one), server_pid(two)]
    for cluster, pid in zip((one, two), pids, strict=True):
        assert not is_running(pid)
        assert not cluster.socket_directory.exists()


def test_it_is_removed_when_a_session_is_busy_and_the_block_fails() -> None:
    def sleep(dsn: str) -> None:
        with pytest.raises(psycopg.OperationalError), psycopg.connect(dsn) as connection:
            connection.execute("SELECT pg_sleep(60)")

    started = time.monotonic()
    cluster = Cluster()
    pid = 0

    def fail() -> None:
        nonlocal pid
        with cluster:
            pid = server_pid(cluster)
            thread.start()
            time.sleep(0.2)
            raise ZeroDivisionError

    thread = threading.Thread(target=lambda: sleep(cluster.dsn))
    with pytest.raises(ZeroDivisionError):
        fail()
    thread.join()
    assert pid
    assert not is_running(pid)
    assert not cluster.socket_directory.exists()
    assert time.monotonic() - started < 30


def test_a_bad_setting_is_a_clear_error_and_leaves_nothing() -> None:
    cluster = Cluster(settings={"no_such_setting": "1"})
    with pytest.raises(OmopEmbError) as caught, cluster:
        pass
    assert "no_such_setting" in str(caught.value.hint)
    assert not cluster.socket_directory.exists()


def test_a_directory_without_a_server_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))
    with pytest.raises(OmopEmbError, match=f"{tmp_path} has no initdb") as caught:
        find_binaries()
    assert all(name in str(caught.value.hint) for name in NEEDED_EXTENSIONS)


CHILD = """
import sys, time
from omop_emb.demo.cluster import Cluster
cluster = Cluster()
print(cluster.socket_directory, flush=True)
with cluster:
    print((cluster.socket_directory / "data/postmaster.pid").read_text().split()[0], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_to_the_whole_process_group_ends_it_in_order(number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        pid = int(process.stdout.readline())
        os.killpg(process.pid, number)
        assert process.wait(30) == status
    try:
        assert gone_within(10, pid)
        if number != signal.SIGKILL:
            assert not directory.exists()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2, 0.5, 0.8, 1.1, 1.3])
def test_an_interrupt_at_any_moment_of_the_start_leaves_nothing(delay: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
    deadline = time.monotonic() + 5
    while (left := users_of(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert not directory.exists()


def users_of(directory: Path) -> list[str]:
    """Return the command lines of the processes that name ``directory``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in line:
            found.append(line.replace(b"\0", b" ").decode())
    return found
