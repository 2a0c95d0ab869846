"""The built-in set with the bundled model: the roles make the difference that they should."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.embedder import DOCUMENT_PREFIX, MODEL, QUERY_PREFIX, create_server
from omop_emb.evaluation import Options, evaluate, read_icd10cm


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """Serve the bundled model."""
    with create_server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def test_the_builtin_set_is_drawn_reproducibly_and_has_no_trivial_queries() -> None:
    gold = read_icd10cm(Options(queries=None, concepts=100))
    assert len(gold.queries) > 12_000
    texts = {name.casefold() for name in gold.names.values()}
    assert len(texts) == len(gold.names)
    assert all(gold.names[key].casefold() != query.text.casefold() for query in gold.queries for key in query.wanted)
    assert not [query.text for query in gold.queries if query.text.startswith("Conditions in ")]
    wanted = {query.text: [gold.names[key] for key in query.wanted] for query in gold.queries}
    assert wanted["Hemophilia C"] == ["Hereditary factor XI deficiency"]
    assert gold.chapters["D68.1"].startswith("D50-D89 Diseases of the blood")
    small = read_icd10cm(Options(queries=20, concepts=30, seed=7))
    assert small == read_icd10cm(Options(queries=20, concepts=30, seed=7))
    assert len(small.names) == 50


def test_the_right_roles_are_not_the_wrong_ones(dsn: str, model_url: str) -> None:
    options = Options(queries=20, concepts=30)
    with psycopg.connect(dsn, autocommit=True) as connection:
        prefixes = {"document_prefix": DOCUMENT_PREFIX, "query_prefix": QUERY_PREFIX}
        configure(connection, "e5", {"api_base": model_url, "model": MODEL, **prefixes})
        found = evaluate(connection, read_icd10cm(options), options=options)
    configuration = found.configurations[0]
    right, *wrong = configuration.roles
    assert configuration.searches == []
    assert configuration.embedding is not None
    assert configuration.embedding.calls == 20
    assert right.is_right
    assert right.ranking.measures.hit_at_10.value > 0.9
    similarities = {tuple(first.similarity for first in role.ranking.first if first) for role in (right, *wrong)}
    assert len(similarities) == 4
    of_document_document = wrong[0].ranking.measures.mrr.value
    assert right.ranking.measures.mrr.value >= of_document_document
