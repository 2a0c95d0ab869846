"""Evaluate configurations on gold queries."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import psycopg

from omop_emb.configuration import read_configuration
from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.controls import rank_by_role, roles_differ
from omop_emb.evaluation.icd10cm import BuiltinSet
from omop_emb.evaluation.pool import read_pool
from omop_emb.evaluation.ranking import Ranker
from omop_emb.evaluation.result import (
    MODES,
    Comparison,
    ConfigurationResult,
    Evaluation,
    GoldPairs,
    GoldQuery,
    Options,
    Progress,
    no_progress,
)
from omop_emb.evaluation.searches import WARM_UP, embedding_latency, rank_by_search
from omop_emb.evaluation.statistics import paired_tests
from omop_emb.evaluation.unknown import known_queries

SETTINGS = (
    "name", "model", "dimensions", "document_prefix", "query_prefix", "document_params", "query_params", "distance",
    "storage", "synonyms",
)  # fmt: skip


def evaluate(
    connection: psycopg.Connection,
    gold: GoldPairs | BuiltinSet,
    configs: Sequence[str] = (),
    options: Options | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Evaluate the configurations (none: the active one) on the gold queries.

    Pairs are searched for in the index, and then ranked in the right and the wrong roles among a sample of it; a
    built-in set brings its own documents and needs no index. The user must be a member of omop_emb_admin.

    Raises OmopEmbError when a configuration is unknown, its endpoint fails, or concepts of the pairs are not indexed.
    """
    started = time.monotonic()
    options = options or Options()
    settings = [_settings(connection, name) for name in dict.fromkeys(configs or (None,))]
    if isinstance(gold, BuiltinSet):
        result = Evaluation(gold.source, True, options, list(gold.queries), gold.names, gold.chapters)
        result.configurations = [_evaluate_builtin(connection, gold, each, options, progress) for each in settings]
    else:
        result = _prepared(connection, gold, settings, options)
        result.configurations = [
            _evaluate_pairs(connection, result.queries, each, options, progress) for each in settings
        ]
    if options.controls:
        result.notes += [
            f"{each['name']!r} embeds documents and queries alike: there are no wrong roles to compare with"
            for each in settings
            if not roles_differ(each)
        ]
    result.comparisons = _comparisons(result.configurations, options.seed)
    result.seconds = time.monotonic() - started
    return result


def compare(
    connection: psycopg.Connection,
    pairs: GoldPairs,
    candidate: str,
    reference: str,
    options: Options | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Search all pairs in two configurations, in the mode that is the default of searches.

    ``test.difference`` is the MRR of candidate minus reference.

    The candidate is worse, beyond what the choice of queries explains, when the upper end of its interval is below 0.
    Raises OmopEmbError like :func:`evaluate`.
    """
    if candidate == reference:
        raise OmopEmbError(f"configuration {candidate!r} cannot be compared with itself")
    options = replace(options or Options(queries=None), controls=False, modes=MODES[:1])
    return evaluate(connection, pairs, [candidate, reference], options, progress).comparisons[0]


def _settings(connection: psycopg.Connection, name: str | None) -> dict[str, Any]:
    """Return the settings of a configuration, after a first call of its endpoint."""
    with readable_errors():
        connection.execute("SELECT omop_emb.embed_texts(%s, 'query', %s::text[])", [name, [WARM_UP]])
        if name is None:
            row = connection.execute("SELECT name FROM omop_emb.config WHERE is_active").fetchone()
            if row is None:
                raise OmopEmbError("the active configuration was deactivated just now")
            name = row[0]
        row_of_config = read_configuration(connection, str(name))
    return {key: row_of_config[key] for key in SETTINGS}


def _prepared(
    connection: psycopg.Connection, gold: GoldPairs, settings: Sequence[dict[str, Any]], options: Options
) -> Evaluation:
    """Return the result with the queries that can be asked and notes on them, but without any figures."""
    result = Evaluation(gold.source, False, options, [], {}, {})
    if gold.merged:
        result.notes.append(f"{_lines(gold.merged)} of {gold.source} repeated a pair and {_were(gold.merged)} left out")
    wanted = sorted({key for query in gold.queries for key in query.wanted if isinstance(key, int)})
    pools = {each["name"]: read_pool(connection, each["name"], wanted, 0, options) for each in settings}
    queries = known_queries(connection, gold, pools, options, result.notes)
    if options.queries is not None and options.queries < len(queries):
        result.notes.append(f"{options.queries:,} of {len(queries):,} queries were drawn (seed {options.seed})")
        chosen = random.Random(options.seed).sample(range(len(queries)), options.queries)  # noqa: S311
        queries = [queries[position] for position in sorted(chosen)]
    result.queries = queries
    for each in settings:
        pool = pools[each["name"]]
        result.names.update(pool.names)
        result.groups.update(pool.vocabularies)
        terms = pool.folded_terms()
        same = sum(any((key, query.text.casefold()) in terms for key in query.wanted) for query in queries)
        if same:
            result.notes.append(
                f"{same:,} of {len(queries):,} queries are themselves indexed in {each['name']!r}, as a text of a"
                " wanted concept: they test equality, not meaning"
                + ("; if they come from synonyms, evaluate a configuration with synonyms off" * each["synonyms"])
            )
    return result


def _evaluate_pairs(
    connection: psycopg.Connection,
    queries: Sequence[GoldQuery],
    settings: dict[str, Any],
    options: Options,
    progress: Progress,
) -> ConfigurationResult:
    name = settings["name"]
    searches = [rank_by_search(connection, name, mode, queries, options, progress) for mode in options.modes]
    result = ConfigurationResult(name, settings, searches)
    if options.controls and roles_differ(settings):
        wanted = sorted({key for query in queries for key in query.wanted if isinstance(key, int)})
        pool = read_pool(connection, name, wanted, options.concepts, options)
        ranker = Ranker(pool.keys, pool.names, pool.terms, settings["distance"])
        result.roles = rank_by_role(
            connection, settings, queries, pool.texts, ranker, options, progress, stored=pool.vectors
        )
        result.pool_concepts, result.pool_texts = len(pool.keys), len(pool.texts)
    return result


def _evaluate_builtin(
    connection: psycopg.Connection, gold: BuiltinSet, settings: dict[str, Any], options: Options, progress: Progress
) -> ConfigurationResult:
    latency = embedding_latency(connection, settings["name"], gold.queries, progress)
    keys = sorted(gold.names)
    ranker = Ranker(keys, gold.names, [(i, i) for i in range(len(keys))], settings["distance"])
    texts = [gold.names[key] for key in keys]
    roles = rank_by_role(connection, settings, gold.queries, texts, ranker, options, progress)
    return ConfigurationResult(
        settings["name"], settings, embedding=latency, roles=roles, pool_concepts=len(keys), pool_texts=len(texts)
    )


def _comparisons(configurations: Sequence[ConfigurationResult], seed: int) -> list[Comparison]:
    """Compare the modes within each configuration, then the configurations in each mode."""
    rankings = [(each.name, mode, ranking) for each in configurations for mode, ranking in each.compared.items()]
    pairs = [pair for same in (0, 1) for pair in combinations(rankings, 2) if pair[0][same] == pair[1][same]]
    tests = paired_tests([(first[2].ranks, second[2].ranks) for first, second in pairs], seed)
    return [
        Comparison(*first[:2], *second[:2], len(first[2].ranks), test)
        for (first, second), test in zip(pairs, tests, strict=True)
    ]


def _lines(count: int) -> str:
    return f"{count:,} line{'s' * (count != 1)}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
