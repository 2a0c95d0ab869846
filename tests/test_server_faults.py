"""The database goes away under a worker, or its disk is full: nothing lost, nothing asked for twice."""

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from tests.conftest import VOCABULARY
from tests.endpoint import Endpoint
from tests.test_index import MANY, SETTINGS
from tests.working import check_as_fresh, command, slowly, wait_until, wait_until_indexed, worker

# What was committed must survive a crash.
DURABLE = {"synchronous_commit": "on"}


@contextmanager
def installed(cluster: Cluster, endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a connection to a database of the cluster with 600 concepts more and a configuration with batches of 4."""
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(VOCABULARY)
        migrate(cluster.dsn)
        connection.execute(MANY, [600])
        configure(connection, "test", {"api_base": endpoint.url, "dimensions": 8, "batch_size": 4, **SETTINGS})
        yield connection


def kill_server(cluster: Cluster) -> None:
    """Kill the postmaster; its children end when they notice."""
    assert cluster._process
    pid = int((cluster.socket_directory / "data/postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    cluster._process.wait(20)


def start_server(cluster: Cluster) -> None:
    """Start it again, once the children of the one before have ended."""

    def started() -> bool:
        cluster._launch()
        return cluster._is_up()

    wait_until(started)


def answers(endpoint: Endpoint, more: int) -> None:
    """Wait until the endpoint was asked so many times more."""
    wanted = len(endpoint.requests) + more
    wait_until(lambda: len(endpoint.requests) >= wanted)


def test_backend_and_postmaster_are_killed(endpoint: Endpoint) -> None:
    endpoint.respond = slowly(0.03)
    with Cluster(settings=DURABLE) as cluster:
        with installed(cluster, endpoint) as db, worker(cluster.dsn, "--lease", "30") as running:
            answers(endpoint, 8)
            backends = "SELECT pid FROM pg_stat_activity WHERE application_name = 'omop_emb' ORDER BY backend_start"
            # One that stores; the server ends the others.
            os.kill(db.execute(backends).fetchall()[-1][0], signal.SIGKILL)
            answers(endpoint, 16)
            kill_server(cluster)
            running.wait_for("database unavailable")
            start_server(cluster)
            with psycopg.connect(cluster.dsn, autocommit=True) as after:
                wait_until_indexed(after)
                check_as_fresh(after)
                # What was answered meanwhile was kept.
                assert max(Counter(endpoint.texts).values()) == 1
                after.execute("UPDATE cdm.concept SET concept_name = concept_name || ' too' WHERE concept_id > 5000")
            said = len(running.of("database unavailable"))
            answers(endpoint, 8)
            kill_server(cluster)
            running.wait_for("database unavailable", said + 1)
            called = time.monotonic()
            assert running.stop() == 143
            assert time.monotonic() - called < 2
            assert running.of("error") == []
            assert running.stderr == ""
        start_server(cluster)
        with psycopg.connect(cluster.dsn, autocommit=True) as db:
            # Nobody could give back the leases.
            db.execute("UPDATE omop_emb.job SET leased_until = now() WHERE worker IS NOT NULL")
            with worker(cluster.dsn):
                wait_until_indexed(db)
            check_as_fresh(db)


NO_SPACE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A file of a table must not grow while the file FULL is there. */
static int no_space(int fd, off_t end)
{
    char link[64], path[4096];
    struct stat status;
    ssize_t length;

    if (access(FULL, F_OK) != 0 || fstat(fd, &status) != 0 || end <= status.st_size)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/base/") != NULL;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    if (no_space(fd, offset + size)) { errno = ENOSPC; return -1; }
    return real(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "pwritev");
    if (no_space(fd, offset + 1)) { errno = ENOSPC; return -1; }
    return real(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    int (*real)(int, off_t, off_t) = dlsym(RTLD_NEXT, "posix_fallocate");
    return no_space(fd, offset + size) ? ENOSPC : real(fd, offset, size);
}

int posix_fallocate64(int fd, off_t offset, off_t size) { return posix_fallocate(fd, offset, size); }
"""


@contextmanager
def filling_cluster() -> Iterator[tuple[Cluster, Callable[[bool], None]]]:
    """Run a server, and give what fills its disk and makes room again."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        full, source, library = (Path(directory) / name for name in ("full", "no_space.c", "no_space.so"))
        source.write_text(NO_SPACE)
        compiler = ["cc", "-shared", "-fPIC", f'-DFULL="{full}"', "-o", str(library), str(source), "-ldl"]
        try:
            subprocess.run(compiler, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no C compiler to fill the disk with")

        def fill(now: bool) -> None:
            if now:
                full.touch()
            else:
                full.unlink()

        with Cluster(environment={"LD_PRELOAD": str(library)}) as cluster:
            yield cluster, fill


def test_the_disk_is_full_for_a_while(endpoint: Endpoint) -> None:
    endpoint.respond = slowly(0.01)
    said = "could not extend file"
    with filling_cluster() as (cluster, fill), installed(cluster, endpoint) as db:
        with worker(cluster.dsn) as running:
            answers(endpoint, 8)
            fill(True)
            assert said in running.wait_for("error")["message"]
            before = len(endpoint.requests)
            with command(cluster.dsn, "index") as once:
                assert once.ended() == 1
                assert once.stderr.startswith("error: " + said)
                assert len(once.stderr.splitlines()) == 2
            running.wait_for("error", 4)
            pauses = [event["next_attempt_seconds"] for event in running.of("error")]
            assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
            # Each attempt costs what was leased for it.
            assert len(endpoint.requests) - before < 5 * 20
            # Nothing is half done: each text has a vector or is in a job.
            unaccounted = db.execute(
                "SELECT text_hash FROM omop_emb.term EXCEPT SELECT text_hash FROM omop_emb.embedding_1"
                " EXCEPT SELECT unnest(text_hashes) FROM omop_emb.job"
            )
            assert unaccounted.fetchall() == []
            called = time.monotonic()
            assert running.stop() == 143
            assert time.monotonic() - called < 2
        fill(False)
        # To give back leases takes room, too.
        db.execute("UPDATE omop_emb.job SET leased_until = now() WHERE worker IS NOT NULL")
        with worker(cluster.dsn):
            wait_until_indexed(db)
        check_as_fresh(db)
