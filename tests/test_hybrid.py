"""Hybrid search, the default: one ranking of what the letters of a query find and of what its vector finds."""

import random
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.endpoint import vector_for
from tests.terminology import db, ids, search, shared_endpoint

__all__ = ["db", "shared_endpoint"]

POOL = 40
QUERIES = (
    "metformn", "type 2 diabetes", "xray chest", "I10", "g", "of the", "???", "filler", "heart disease ulcer",
    "identical twins", "something else", "malaria ague", "c4ca4238a0b923820dcc509a6f75849b fillr",
)  # fmt: skip
FILTERS = (
    ("", lambda c: True),
    ("domains => '{Drug}'", lambda c: c["domain_id"] == "Drug"),
    ("domains => '{Unit,Procedure}'", lambda c: c["domain_id"] in ("Unit", "Procedure")),
    ("vocabularies => '{ICD10CM,Local}'", lambda c: c["vocabulary_id"] in ("ICD10CM", "Local")),
    ("concept_classes => '{Ingredient}'", lambda c: c["concept_class_id"] == "Ingredient"),
    ("standard_only => true", lambda c: c["standard_concept"] == "S"),
    ("ancestor_concept_id => 131", lambda c: c["concept_id"] in (131, 132)),
    ("ancestor_concept_id => 121, vocabularies => '{RxNorm}'", lambda c: False),
    ("domains => '{}'", lambda c: False),
    ("domains => '{Drug}', standard_only => true", lambda c: c["domain_id"] == "Drug" and c["standard_concept"] == "S"),
)  # fmt: skip


def test_both_legs_under_every_filter(db: psycopg.Connection) -> None:
    """Rows that pass, all that were asked for, each concept once, its ranks and its real similarity."""
    cursor = db.cursor(row_factory=psycopg.rows.dict_row)
    everything = cursor.execute("SELECT * FROM omop_emb.concept").fetchall()
    generator = random.Random(5)
    lexical_only = 0
    for query in QUERIES:
        vector = np.array(vector_for("query: " + query, 8))
        for given, passes in FILTERS:
            k, invalid = generator.choice([1, 2, 10, 60, 1001]), generator.random() < 0.5
            wanted = {c["concept_id"] for c in everything if passes(c) and (invalid or c["is_valid"])}
            arguments = f", {given or 'config => NULL'}, include_invalid => {invalid}"
            found = search(db, query, k, arguments)
            assert [row["rank"] for row in found] == list(range(1, min(k, len(wanted)) + 1)), (query, arguments, k)
            assert len(set(ids(found))) == len(found)
            assert set(ids(found)) <= wanted
            nearest = {
                row["concept_id"]: row for row in search(db, query, max(k, POOL), arguments + ", mode => 'semantic'")
            }
            for row in found:
                near = nearest.get(row["concept_id"])
                assert row["semantic_rank"] == (near["rank"] if near else None)
                assert row["semantic_rank"] or row["lexical_rank"]
                name = next(c["concept_name"] for c in everything if c["concept_id"] == row["concept_id"])
                text = name if row["matched_kind"] == "code" else row["matched_text"]
                if near:
                    assert row["similarity"] == near["similarity"]
                else:
                    assert row["similarity"] == pytest.approx(cosine(vector, text), abs=1e-6)
                    lexical_only += 1
            positions = [row["lexical_rank"] for row in found if row["lexical_rank"]]
            assert len(set(positions)) == len(positions)
            if k >= len(wanted):
                assert sorted(positions) == list(range(1, len(positions) + 1))
    assert lexical_only > 10


def cosine(vector: np.ndarray[Any, Any], text: str) -> float:
    other = np.array(vector_for("doc: " + text, 8))
    return float(1 - (1 - vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)) / 2)


def test_the_fusion_is_by_score(db: psycopg.Connection) -> None:
    """The place of the similarity between the best and the 40th, 0 to 1, plus 1.5 times the lexical score."""
    fused = 0
    for query in ("heart disease ulcer", "metformn tablet", "type 2 thing", "chest x-ray film", "old hypertension"):
        near = search(db, query, POOL, ", mode => 'semantic'")
        best, last = near[0]["similarity"], near[-1]["similarity"]
        scores: dict[int, float] = dict(
            db.execute(
                "SELECT l.concept_id, l.score FROM omop_emb.lexical_candidates(1, omop_emb.lexical_query(%s), 40,"
                " omop_emb.search_filter(omop_emb.config_for(NULL), 40, NULL, NULL, NULL, false, false, NULL, NULL)) l",
                [query],
            ).fetchall()
        )
        found = [row for row in search(db, query, POOL) if row["lexical_rank"]]
        total = [
            max(0.0, (row["similarity"] - last) / (best - last)) + 1.5 * scores[row["concept_id"]] for row in found
        ]
        assert total == sorted(total, reverse=True)
        fused += len(total)
    assert fused > 10


def test_fewer_rows_are_the_first_of_more(db: psycopg.Connection) -> None:
    for query in QUERIES:
        many = ids(search(db, query, POOL))
        assert len(many) == POOL
        for k in (1, 5):
            assert ids(search(db, query, k)) == many[:k]
