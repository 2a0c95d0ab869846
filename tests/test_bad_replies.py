"""Replies that make no sense, texts the endpoint will not have, an endpoint that dies in the middle."""

import base64
import struct
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.endpoint import Answer, Endpoint
from tests.test_model_call import change, stored

Items = list[dict[str, Any]]
POISON = "Essential hypertension"


def with_vector(vector: Any) -> Callable[[Items], Items]:
    """Replace the last vector."""
    return lambda items: [*items[:-1], {**items[-1], "embedding": vector}]


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


NONSENSE: dict[str, tuple[Callable[[Items], Any], str]] = {
    "too few": (lambda items: items[:-1], "vectors for"),
    "too many": (lambda items: [*items, items[0]], "vectors for"),
    "none": (lambda items: [], "0 vectors for"),
    "not a list": (lambda items: {"0": items[0]}, "dict"),
    "shorter": (with_vector([0.5] * 7), "7 dimensions, the configuration says 8"),
    "longer": (with_vector(packed(*[0.5] * 9)), "9 dimensions, the configuration says 8"),
    "empty": (with_vector([]), "0 dimensions"),
    "NaN": (with_vector([float("nan")] * 8), "NaN or infinity"),
    "infinity": (with_vector([1.0] * 7 + [float("inf")]), "NaN or infinity"),
    "minus infinity": (with_vector([1.0] * 7 + [float("-inf")]), "NaN or infinity"),
    "base64 NaN": (with_vector(packed(*[0.5] * 7, float("nan"))), "NaN or infinity"),
    "base64 infinity": (with_vector(packed(*[0.5] * 7, float("inf"))), "NaN or infinity"),
    "beyond a float": (with_vector([1e39] * 8), "NaN or infinity"),
    "a long integer": (with_vector([10**400] * 8), "not a list of embeddings"),
    "too long to compare": (with_vector([1e30] * 8), "single precision"),
    "too short to compare": (with_vector([1e-30] * 8), "single precision"),
    "texts": (with_vector(["0.5"] * 8), "not a list of embeddings"),
    "nulls": (with_vector([None] * 8), "not a list of embeddings"),
    "lists": (with_vector([[0.5]] * 8), "not a list of embeddings"),
    "null": (with_vector(None), "NoneType"),
    "not base64": (with_vector("Äpfel!"), "not a list of embeddings"),
    "base64 cut off": (with_vector(packed(0.5)[:-2] + "=="), "not a list of embeddings"),
    "zeros": (with_vector([0.0] * 8), "only zeros"),
    "no embedding": (lambda items: [{"index": item["index"]} for item in items], "no field 'embedding'"),
    "texts as items": (lambda items: ["x"] * len(items), "not a list of embeddings"),
    "same index": (lambda items: [{**item, "index": 1 if len(items) > 1 else 5} for item in items], "index"),
    "index out of range": (lambda items: [{**item, "index": item["index"] + 1} for item in items], "index"),
    "index a text": (lambda items: [{**item, "index": str(item["index"])} for item in items], "index"),
}
BODIES = {
    "HTML": b"<!DOCTYPE html><html><body>Welcome to nginx</body></html>",
    "nothing": b"",
    "half": b'{"data": [{"index": 0, "embedding": [0.1, ',
    "not UTF-8": b'{"data": "\xff\xfe"}',
    "a list": b"[]",
    "a number": b"7",
    "other JSON": b'{"error": "no such model"}',
    "deep": b"[" * 100000,
}


def refused(db: psycopg.Connection, statement: str, message: str) -> None:
    """Check that the statement ends with OE004, the message, the endpoint's address and a hint."""
    with pytest.raises(psycopg.Error, match=message) as raised:
        db.execute(statement)
    assert raised.value.diag.sqlstate == "OE004"
    assert "http://127.0.0.1" in (raised.value.diag.message_primary or "")
    assert "api_base" in (raised.value.diag.message_hint or "")


def test_nonsense_is_an_error_and_stores_nothing(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    for changed, message in NONSENSE.values():
        endpoint.change = changed
        refused(indexed, "SELECT * FROM omop_emb_index()", message)
        refused(indexed, "SELECT omop_emb_embed_document('fever')", message)
        refused(indexed, "SELECT * FROM omop_emb_search('fever')", message)
    assert stored(indexed) == {}
    assert indexed.execute("TABLE omop_emb.failures").fetchall() == []
    endpoint.change = lambda items: items
    assert indexed.execute("SELECT embedded, failed, remaining FROM omop_emb_index()").fetchone() == (16, 0, 0)
    assert len(indexed.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10


def test_what_is_not_embeddings_at_all_is_an_error(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    for body in BODIES.values():
        endpoint.respond = lambda _, body=body: Answer(body=body)  # type: ignore[misc]
        refused(indexed, "SELECT * FROM omop_emb_search('fever')", "not a list of embeddings")
        refused(indexed, "SELECT * FROM omop_emb_index()", "not a list of embeddings")
    assert stored(indexed) == {}
    endpoint.respond = lambda _: None
    assert indexed.execute("SELECT embedded, failed, remaining FROM omop_emb_index()").fetchone() == (16, 0, 0)


def poisoned(endpoint: Endpoint, how: str) -> None:
    """Make the endpoint stumble over one text."""
    if how == "400":
        endpoint.respond = lambda request: (
            Answer(400, b'{"error": "contains forbidden words"}')
            if any(POISON in text for text in request["input"])
            else None
        )
        return

    def nan_for_poison(items: Items) -> Items:
        texts = endpoint.requests[-1]["input"]
        nan = [float("nan")] * 8
        return [{**item, "embedding": nan} if POISON in text else item for item, text in zip(items, texts, strict=True)]

    endpoint.change = nan_for_poison


@pytest.mark.parametrize(("how", "reason"), [("400", "HTTP 400: contains forbidden words"), ("NaN", "NaN or infinity")])
def test_a_poison_text_does_not_take_the_others_with_it(
    indexed: psycopg.Connection, endpoint: Endpoint, how: str, reason: str
) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    poisoned(endpoint, how)
    index = "SELECT embedded, failed, remaining FROM omop_emb_index()"
    assert indexed.execute(index).fetchone() == (15, 1, 0)
    assert POISON not in stored(indexed)
    failure = "SELECT config, concept_id, text, attempts, next_attempt > now(), error FROM omop_emb.failures"
    *facts, error = indexed.execute(failure).fetchall()[0]
    assert facts == ["test", 320128, POISON, 1, True]
    assert reason in error
    status = indexed.execute("SELECT failed, pending, indexed, last_error FROM omop_emb.status").fetchone()
    assert status == (1, 1, 9, error)

    endpoint.requests.clear()
    assert indexed.execute(index).fetchone() == (0, 0, 0)
    assert endpoint.requests == [], "a failed text must wait for its next attempt"
    asked_for = "SELECT embedded, failed FROM omop_emb_index(concept_ids => '{320128}')"
    assert indexed.execute(asked_for).fetchone() == (0, 1)
    assert indexed.execute("SELECT attempts FROM omop_emb.failures").fetchone() == (2,)

    indexed.execute("UPDATE omop_emb.failure SET next_attempt = now() - interval '1 s'")
    assert indexed.execute(index).fetchone() == (0, 1, 0)
    assert indexed.execute("SELECT attempts FROM omop_emb.failures").fetchone() == (3,)

    endpoint.change, endpoint.respond = lambda items: items, lambda _: None
    assert indexed.execute(asked_for).fetchone() == (1, 0)
    assert indexed.execute("TABLE omop_emb.failures").fetchall() == []
    assert len(stored(indexed)) == 16


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 501])
def test_an_endpoint_that_rejects_everything_is_no_failure_of_texts(
    indexed: psycopg.Connection, endpoint: Endpoint, status: int
) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    change(indexed, max_retries=0)
    endpoint.respond = lambda _: Answer(status, b"no")
    with pytest.raises(psycopg.Error, match=f"HTTP {status}: no") as raised:
        indexed.execute("SELECT * FROM omop_emb_index()")
    assert raised.value.diag.sqlstate == "OE003"
    assert indexed.execute("TABLE omop_emb.failures").fetchall() == []
    assert stored(indexed) == {}
    assert len(endpoint.requests) <= 2


@pytest.mark.parametrize("way", ["500", "hangs up", "HTML"])
def test_what_was_embedded_before_the_endpoint_died_is_kept(
    indexed: psycopg.Connection, endpoint: Endpoint, way: str
) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    change(indexed, batch_size=4, max_retries=0)
    notices: list[tuple[str | None, str | None, str | None]] = []
    indexed.add_notice_handler(
        lambda notice: notices.append((notice.severity, notice.message_primary, notice.message_hint))
    )
    answer = {"500": Answer(500, b"out of memory"), "hangs up": Answer(hang_up=True), "HTML": Answer(body=b"<p>")}[way]
    embedded: list[str] = []

    def three_batches(request: dict[str, Any]) -> Answer | None:
        if len(embedded) >= 12:
            return answer
        embedded.extend(request["input"])
        return None

    endpoint.respond = three_batches
    assert indexed.execute("SELECT embedded, failed, remaining FROM omop_emb_index()").fetchone() == (12, 0, 4)
    assert len(stored(indexed)) == 12
    ((severity, message, hint),) = notices
    assert severity == "WARNING"
    assert "stopped after 12 texts" in (message or "")
    assert "is kept" in (hint or "")
    assert indexed.execute("TABLE omop_emb.failures").fetchall() == []

    endpoint.requests.clear()
    endpoint.respond = lambda _: None
    assert indexed.execute("SELECT embedded, failed, remaining FROM omop_emb_index()").fetchone() == (4, 0, 0)
    assert sorted([*embedded, *endpoint.texts]) == sorted({*embedded, *endpoint.texts})
    assert len(stored(indexed)) == 16
    assert len(notices) == 1
