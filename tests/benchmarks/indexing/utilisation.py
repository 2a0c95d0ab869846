"""How much of what an endpoint can give arrives in the table."""

import http.client
import threading
import time
from collections.abc import Sequence
from statistics import median
from urllib.parse import urlsplit

from omop_emb.demo.cluster import Cluster
from omop_emb.indexing import CONCURRENCY
from omop_emb.server.embedding import DOCUMENT, request_body
from tests.benchmarks.environment import connect
from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.indexing.command import Phase, index
from tests.benchmarks.indexing.database import CONFIG, copy_of, vectors_in
from tests.benchmarks.progress import Progress


def run(
    cluster: Cluster,
    progress: Progress,
    what: str,
    template: str,
    url: str,
    names: Sequence[str],
    limit: float,
    rounds: int,
) -> Figure:
    """Index the names of a template, and send the same requests from threads that do nothing with the replies."""
    bodies = requests(cluster, template, names)

    def embed(_: int) -> float:
        database = copy_of(cluster, template, "indexed", url)
        taken = index(cluster, database, until=Phase.BUILDING).embedding
        assert vectors_in(cluster, database) == len(names)
        return taken

    times = in_turn(
        {"ask": lambda _: ask(url, bodies), "embed": embed},
        rounds,
        lambda number: progress.step(f"round {number + 1} of {rounds}: {len(names):,} texts, {what}"),
    )
    asking, embedding = median(times["ask"]), median(times["embed"])
    measured = (
        f"{len(names) / embedding:,.0f}/s against {len(names) / asking:,.0f}/s of {CONCURRENCY} threads that only ask:"
        f" {len(names):,} texts in {duration(embedding)} and {duration(asking)}"
    )
    return Figure(
        "index", f"part of what it can give, {what}", asking / embedding, "", measured, limit, more_is_better=True
    )


def requests(cluster: Cluster, database: str, names: Sequence[str]) -> list[bytes]:
    """Return the bodies of the requests that index sends for the names."""
    with connect(cluster, database) as connection:
        row = connection.execute("SELECT omop_emb.worker_settings(%s)", [CONFIG]).fetchone()
    assert row
    size = row[0]["batch_size"]
    return [request_body(row[0], DOCUMENT, names[start : start + size]) for start in range(0, len(names), size)]


def ask(url: str, bodies: Sequence[bytes]) -> float:
    """Return the seconds in which as many threads as index has get the replies to all requests."""
    parts = urlsplit(url)
    left = iter(bodies)
    lock = threading.Lock()
    statuses: set[int] = set()

    def work() -> None:
        connection = http.client.HTTPConnection(parts.netloc)
        while True:
            with lock:
                body = next(left, None)
            if body is None:
                break
            connection.request("POST", f"{parts.path}/embeddings", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            statuses.add(response.status)
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(CONCURRENCY)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200}, statuses
    return time.perf_counter() - started
