"""How well the modes of a search, and plain alternatives, find what gold pairs want; with the bundled model."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.embedder import DOCUMENT_PREFIX, MODEL, QUERY_PREFIX
from omop_emb.evaluation.statistics import bootstrap_intervals, hits, paired_tests, reciprocal_ranks
from omop_emb.indexing import index
from omop_emb.progress import Show
from tests.benchmarks.environment import TEMPLATE, Options, connect, copy_in
from tests.benchmarks.figures import Figure
from tests.benchmarks.model import running_model
from tests.benchmarks.progress import Progress
from tests.benchmarks.search.recall import FILTERED_LIMIT as FILTERED_RECALL
from tests.benchmarks.search.recall import UNFILTERED_LIMIT as UNFILTERED_RECALL
from tests.benchmarks.texts import PUBLIC_VOCABULARY, concept_lines, gold_rows

QUERIES = 1000
SEED = 1
SHOWN = 10
POOL = 100
RECALL_QUERIES = 200
# The constant of Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).
FUSION_CONSTANT = 60

Ranks = list[int | None]


@dataclass(frozen=True)
class GoldSet:
    """Gold pairs of one source, whose concepts are looked for among at most so many of one vocabulary."""

    title: str
    source: str
    vocabulary: str
    concepts: int


SETS = (
    GoldSet("HPO lay terms", "hpo_layperson", "HPO", 20_000),
    GoldSet("ICD-10-CM inclusion terms", "icd10cm_inclusionTerm", "ICD10CM", 20_000),
)


def run(cluster: Cluster, progress: Progress, _: Options) -> Iterator[Figure]:
    """Index the names of both vocabularies without synonyms, since the queries are synonyms."""
    if not PUBLIC_VOCABULARY.is_dir():
        progress.say(f"left out: there are no gold pairs in {PUBLIC_VOCABULARY}")
        return
    cluster.create_database("quality", template=TEMPLATE)
    with running_model() as url, connect(cluster, "quality") as connection:
        settings = {
            "api_base": url,
            "model": MODEL,
            "document_prefix": DOCUMENT_PREFIX,
            "query_prefix": QUERY_PREFIX,
            "synonyms": False,
        }
        configure(connection, "quality", settings)
        lines = [line for gold_set in SETS for line in documents(gold_set)]
        statement = "COPY cdm.concept FROM STDIN WITH (FORMAT csv, DELIMITER E'\\t', QUOTE E'\\b')"
        copy_in(connection, statement, "".join(lines).encode())
        index(connection, None, tenths(lambda step, done, of: progress.step(f"{step}: {done:,} of {of:,}")))
        connection.execute("VACUUM ANALYZE")
        for gold_set in SETS:
            yield from compare(connection, gold_set, progress)
        yield from recall(connection, progress)


def tenths(tell: Callable[[str, int, int], None]) -> Show:
    """Return what calls ``tell`` only when another tenth of a step is done."""
    shown: dict[str, int] = {}

    def show(step: str, done: int, total: int | None, note: str = "") -> None:
        if total and (tenth := 10 * done // total) > shown.get(step, -1):
            shown[step] = tenth
            tell(step, done, total)

    return show


def gold(gold_set: GoldSet) -> dict[str, set[int]]:
    """Return the queries of a set and the concepts that each wants."""
    wanted: dict[str, set[int]] = {}
    for row in gold_rows():
        if row["pair_source"] == gold_set.source:
            wanted.setdefault(row["query"], set()).add(int(row["concept_id"]))
    return wanted


def documents(gold_set: GoldSet) -> list[str]:
    """Return the lines of the concepts to look among: those that are wanted and others drawn at random."""
    wanted = {str(concept_id) for ids in gold(gold_set).values() for concept_id in ids}
    rows = [line for line in concept_lines() if line.split("\t")[3] == gold_set.vocabulary]
    needed = [line for line in rows if line.split("\t", 1)[0] in wanted]
    others = [line for line in rows if line.split("\t", 1)[0] not in wanted]
    return needed + random.Random(SEED).sample(others, min(gold_set.concepts - len(needed), len(others)))


def compare(connection: psycopg.Connection, gold_set: GoldSet, progress: Progress) -> Iterator[Figure]:
    """Rank the same queries in four ways; the default mode against the two that it is made of."""
    wanted = gold(gold_set)
    queries = random.Random(SEED).sample(sorted(wanted), min(QUERIES, len(wanted)))
    answers: dict[str, list[list[int]]] = {}
    for mode in ("hybrid", "semantic"):
        progress.step(f"{gold_set.title}: {mode}")
        answers[mode] = [[row[0] for row in rows] for rows in search(connection, gold_set, queries, mode, SHOWN)]
    progress.step(f"{gold_set.title}: fusion of ranks")
    answers["fusion of ranks"] = [fused(rows) for rows in search(connection, gold_set, queries, "hybrid", POOL)]
    progress.step(f"{gold_set.title}: trigram similarity, name by name")
    answers["trigram"] = by_trigrams(connection, gold_set, queries)
    ranks = {
        way: [rank_of(wanted[query], ids) for query, ids in zip(queries, found, strict=True)]
        for way, found in answers.items()
    }
    for way in ("semantic", "trigram", "fusion of ranks", "hybrid"):
        yield figure_of(gold_set, way, ranks[way])
    others = ("semantic", "trigram")
    for other, test in zip(others, paired_tests([(ranks["hybrid"], ranks[way]) for way in others], SEED), strict=True):
        difference = test.difference
        yield Figure(
            "quality",
            f"{gold_set.title}: MRR of hybrid - {other}, lower end of the 95 % interval",
            difference.low,
            "",
            f"{difference.value:+.4f}, {difference.low:+.4f} to {difference.high:+.4f}; {test.better} queries better,"
            f" {test.worse} worse; p {test.p_holm:.4f} (Holm)",
            0,
            more_is_better=True,
        )


def search(
    connection: psycopg.Connection, gold_set: GoldSet, queries: list[str], mode: str, k: int
) -> list[list[tuple[int, int | None, int | None]]]:
    """Return for each query its concepts, best first: id, semantic rank and lexical rank."""
    answers: list[list[tuple[int, int | None, int | None]]] = [[] for _ in queries]
    rows = connection.execute(
        "SELECT query_no, concept_id, semantic_rank, lexical_rank"
        " FROM omop_emb_search_batch(%s, k => %s, vocabularies => %s, mode => %s) ORDER BY query_no, rank",
        [queries, k, [gold_set.vocabulary], mode],
    )
    for query_no, *row in rows:
        answers[query_no - 1].append((row[0], row[1], row[2]))
    return answers


def fused(rows: Sequence[tuple[int, int | None, int | None]]) -> list[int]:
    """Return the first concepts by reciprocal rank fusion of the two rankings of a pool."""
    scores = {
        concept_id: sum(1 / (FUSION_CONSTANT + rank) for rank in ranks if rank is not None)
        for concept_id, *ranks in rows
    }
    return sorted(scores, key=lambda concept_id: (-scores[concept_id], concept_id))[:SHOWN]


def by_trigrams(connection: psycopg.Connection, gold_set: GoldSet, queries: list[str]) -> list[list[int]]:
    """Return for each query the concepts whose names are most similar in the measure of pg_trgm."""
    row = connection.execute(
        "SELECT quote_ident(extnamespace::regnamespace::text) FROM pg_extension WHERE extname = 'pg_trgm'"
    ).fetchone()
    rows = connection.execute(
        "SELECT ARRAY(SELECT m.concept_id FROM cdm.concept m WHERE m.vocabulary_id = %s"
        f" ORDER BY {row[0] if row else 'public'}.similarity(m.concept_name, q.query) DESC, m.concept_id LIMIT %s)"
        " FROM unnest(%s::text[]) WITH ORDINALITY q (query, query_no) ORDER BY q.query_no",
        [gold_set.vocabulary, SHOWN, queries],
    )
    return [ids for (ids,) in rows]


def recall(connection: psycopg.Connection, progress: Progress) -> Iterator[Figure]:
    """Compare what the index finds among these real vectors with what a comparison of all of them finds."""
    drawn = [query for gold_set in SETS for query in random.Random(SEED).sample(sorted(gold(gold_set)), RECALL_QUERIES)]
    kept: dict[str, list[str] | None] = {"everything": None} | {of.vocabulary: [of.vocabulary] for of in SETS}
    for keeps, vocabularies in kept.items():
        progress.step(f"recall of what the index finds; the filter keeps {keeps}")
        shares: list[float] = []
        for query in drawn:
            found = connection.execute(
                "SELECT concept_id FROM omop_emb_search(%s, k => %s, vocabularies => %s, mode => 'semantic')",
                [query, SHOWN, vocabularies],
            ).fetchall()
            exact = connection.execute(
                "SELECT m.concept_id FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
                " JOIN omop_emb.concept m USING (concept_id)"
                " WHERE e.live AND (%s::text[] IS NULL OR m.vocabulary_id = ANY (%s))"
                " ORDER BY (e.embedding <=> (SELECT omop_emb_embed_query(%s))) + 0 LIMIT %s",
                [vocabularies, vocabularies, query, SHOWN],
            ).fetchall()
            shares.append(len(set(found) & set(exact)) / len(exact))
        (mean,) = bootstrap_intervals(np.array(shares)[:, None], SEED)
        yield Figure(
            "quality",
            f"recall@{SHOWN} among real vectors; the filter keeps {keeps}",
            mean.value,
            "",
            f"{len(drawn)} queries, {mean.low:.3f} to {mean.high:.3f}, least {min(shares):.1f}",
            UNFILTERED_RECALL if vocabularies is None else FILTERED_RECALL,
            more_is_better=True,
        )


def rank_of(wanted: set[int], found: Sequence[int]) -> int | None:
    """Return the rank of the first concept that is wanted, from 1."""
    return next((rank for rank, concept_id in enumerate(found, 1) if concept_id in wanted), None)


def figure_of(gold_set: GoldSet, way: str, ranks: Ranks) -> Figure:
    """Return the MRR of the first ten, with the hits beside it and the 95 % intervals."""
    columns = np.stack([hits(ranks, 1), hits(ranks, SHOWN), reciprocal_ranks(ranks)], axis=1)
    first, shown, mrr = (f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in bootstrap_intervals(columns, SEED))
    what = f"{gold_set.title}, {len(ranks):,} queries: MRR of the first {SHOWN}, {way}"
    measured = f"MRR {mrr}, hit@1 {first}, hit@{SHOWN} {shown}"
    return Figure("quality", what, float(columns[:, 2].mean()), "", measured)
