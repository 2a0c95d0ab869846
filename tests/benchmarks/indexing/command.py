"""Runs ``omop-emb-admin index`` as its users do, and watches it from another session."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from omop_emb.demo.cluster import Cluster
from tests.benchmarks.environment import connect

# Watching costs time on the processors that the run needs.
SECONDS_BETWEEN_SAMPLES = 0.02
STOPPED_BY_SIGTERM = 143

ACTIVITY = """
    SELECT query, extract(epoch FROM query_start)::float8,
        coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8
    FROM pg_stat_activity
    WHERE application_name = 'omop_emb' AND datname = current_database() AND backend_type = 'client backend'
    ORDER BY backend_start"""


class Phase(IntEnum):
    """What a run does, in order."""

    STARTING = 0
    COMPARING = 1
    EMBEDDING = 2
    BUILDING = 3


FIRST_QUERIES = {
    "omop_emb.begin_index(": Phase.COMPARING,
    "omop_emb.worker_settings(": Phase.EMBEDDING,
    "omop_emb.lease_jobs(": Phase.EMBEDDING,
    "omop_emb.count_for_searches(": Phase.BUILDING,
    "omop_emb.hnsw_to_build(": Phase.BUILDING,
    "omop_emb.finish_index(": Phase.BUILDING,
    "omop_emb.texts_without_vector(": Phase.BUILDING,
}


@dataclass(frozen=True)
class Run:
    """What a run took: seconds in all and by phase, of the longest transaction of a phase, bytes of memory."""

    seconds: float
    phases: dict[Phase, float]
    longest: dict[Phase, tuple[float, str]]
    peak_bytes: int

    @property
    def embedding(self) -> float:
        """The seconds from the first lease until every text has its vector."""
        return self.phases[Phase.EMBEDDING]


@dataclass
class Observer:
    """Samples a process that runs the command, and its transactions, until the block ends."""

    cluster: Cluster
    database: str
    process: "subprocess.Popen[str]"
    until: Phase | None
    seconds_between_samples: float
    began: dict[Phase, float] = field(default_factory=dict)
    longest: dict[Phase, tuple[float, str]] = field(default_factory=dict)
    peak_bytes: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        phase = Phase.STARTING
        with connect(self.cluster, self.database) as connection:
            connection.prepare_threshold = 1
            while not self._ended.wait(self.seconds_between_samples):
                for query, query_began, age in connection.execute(ACTIVITY).fetchall():
                    found = next((later for mark, later in FIRST_QUERIES.items() if mark in query), phase)
                    if found > phase:
                        phase = found
                        self.began[phase] = query_began
                    if age > self.longest.get(phase, (0.0, ""))[0]:
                        self.longest[phase] = age, " ".join(query.split())
                self.peak_bytes = peak_bytes(self.process.pid) or self.peak_bytes
                if self.until is not None and phase >= self.until:
                    self.process.terminate()
                    return


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had so far, 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def command(cluster: Cluster, database: str, *arguments: str) -> list[str]:
    """Return the command line of the admin tool, of this checkout."""
    return [sys.executable, "-m", "omop_emb.cli", "--dsn", cluster.dsn_for(database), *arguments]


def index(
    cluster: Cluster,
    database: str,
    *,
    until: Phase | None = None,
    seconds_between_samples: float = SECONDS_BETWEEN_SAMPLES,
) -> Run:
    """Run ``index`` to its end, or stop it when a phase begins, unless it is as good as done then."""
    started = time.time()
    process = subprocess.Popen(
        command(cluster, database, "index", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with Observer(cluster, database, process, until, seconds_between_samples) as observer:
        output, errors = process.communicate()
    ended = time.time()
    if process.returncode != 0 and not (until and process.returncode == STOPPED_BY_SIGTERM):
        raise RuntimeError(f"index ended with {process.returncode}: {output}{errors}")
    began = observer.began
    ends = {phase: next((began[p] for p in Phase if p > phase and p in began), ended) for phase in began}
    phases = {phase: ends[phase] - at for phase, at in began.items()}
    return Run(ended - started, phases, observer.longest, observer.peak_bytes)
