"""How well and how fast the searches that users make find the wanted concepts."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg.conninfo import make_conninfo

from omop_emb import searching
from omop_emb.database import connect
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.pool import embed
from omop_emb.evaluation.result import (
    Found,
    GoldQuery,
    Latency,
    Options,
    Progress,
    Ranking,
    SearchRanking,
    no_progress,
)
from omop_emb.evaluation.statistics import LAST_RANK, measures

# Plans and connections to the endpoint are made at the first call of a session.
WARM_UP = "first call of this session"
TIMED_K = 10
TIMED_TEXTS = 50


def rank_by_search(
    connection: psycopg.Connection,
    config: str,
    mode: str,
    queries: Sequence[GoldQuery],
    options: Options,
    progress: Progress,
) -> SearchRanking:
    """Search each query with ``omop_emb_search``: timed for 10 concepts, ranked among 100.

    In a session of its own to the same database, as the same user: a session remembers the vectors of its last queries,
    so that only the first search for one calls the model. The session is READ ONLY, or the queries would be remembered
    for all sessions and the next mode would seem faster.

    Raises OmopEmbError when the endpoint fails, also where the configuration then answers from words alone.
    """
    info = connection.info
    with connect(
        make_conninfo(info.dsn, **({"password": info.password} if info.password else {})), autocommit=True
    ) as own:
        own.execute("SET default_transaction_read_only = on")
        return _rank_by_search(own, config, mode, queries, options, progress)


def _rank_by_search(
    connection: psycopg.Connection,
    config: str,
    mode: str,
    queries: Sequence[GoldQuery],
    options: Options,
    progress: Progress,
) -> SearchRanking:
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))

    def search(text: str, k: int) -> list[dict[str, Any]]:
        said.clear()
        rows = searching.search(
            connection,
            text,
            k=k,
            domains=options.domains,
            vocabularies=options.vocabularies,
            standard_only=options.standard_only,
            mode=mode,
            config=config,
        )
        if said and (not rows or rows[0]["matched_kind"] == "lexical"):
            raise OmopEmbError(f"no figures of {config!r} while it answers without its model: {said[-1]}")
        return rows

    step = f"searching, {config}, {mode}"
    search(WARM_UP, TIMED_K)
    progress(step, 0, len(queries))
    times: list[float] = []
    ranks: list[int | None] = []
    first: list[Found | None] = []
    for number, query in enumerate(queries, 1):
        times.append(_milliseconds(lambda text=query.text: search(text, TIMED_K)))  # type: ignore[misc]
        rows = search(query.text, LAST_RANK)
        ranks.append(min((row["rank"] for row in rows if row["concept_id"] in query.wanted), default=None))
        first.append(Found(rows[0]["concept_id"], rows[0]["concept_name"], rows[0]["similarity"]) if rows else None)
        progress(step, number, len(queries))
    ranking = Ranking(ranks, first, measures(ranks, options.seed))
    return SearchRanking(mode, ranking, _latency(f"a search for {TIMED_K} concepts", times))


def embedding_latency(
    connection: psycopg.Connection, config: str, queries: Sequence[GoldQuery], progress: Progress
) -> Latency:
    """Time the embedding of up to 50 queries, one by one."""
    timed = [query.text for query in queries[:TIMED_TEXTS]]
    step = f"single queries, {config}"
    embed(connection, config, "query", [WARM_UP], no_progress, step)
    progress(step, 0, len(timed))
    times = []
    for number, text in enumerate(timed, 1):
        times.append(
            _milliseconds(lambda text=text: embed(connection, config, "query", [text], no_progress, step))  # type: ignore[misc]
        )
        progress(step, number, len(timed))
    return _latency("embedding one query", times)


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _latency(what: str, times: Sequence[float]) -> Latency:
    p50, p95 = np.percentile(times, [50, 95])
    return Latency(what, float(p50), float(p95), len(times))
