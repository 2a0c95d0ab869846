"""The modules that go into function bodies, as ordinary modules: what no reply and no text may do to them."""

import ast
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import omop_emb.server
from omop_emb.server.embedding import (
    DOCUMENT,
    MAX_CHARACTERS,
    QUERY,
    EmbeddingError,
    embed,
    embed_each,
    endpoint_words,
    parse_reply,
    vector_literal,
)

SETTINGS: dict[str, Any] = {
    "api_base": "http://localhost/v1/",
    "model": "m",
    "dimensions": 2,
    "document_prefix": "doc: ",
    "query_prefix": "query: ",
    "document_params": "{}",
    "query_params": '{"task": "query", "model": "ignored"}',
    "api_key_name": None,
    "batch_size": 4,
    "timeout_ms": 1000,
    "max_retries": 2,
    "distance": "cosine",
    "storage": "vector",
}
MODULES = [path for path in Path(omop_emb.server.__file__).parent.glob("*.py") if path.name != "__init__.py"]

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
numbers = st.floats() | st.integers() | st.integers(10**300, 10**400) | json_values
items = st.fixed_dictionaries(
    {"embedding": st.lists(numbers, max_size=3) | st.text() | json_values},
    optional={"index": st.integers(-1, 3) | json_values},
)
replies = st.lists(items | json_values, max_size=4).map(lambda data: {"data": data}) | json_values


class Clock:
    """Time that passes only while something is waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Post:
    """Answers every request with [1, length of the text] per text, after the given answers."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes] | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.longest_timeout = 1.0

    def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        assert url == "http://localhost/v1/embeddings"
        assert 0 < timeout <= self.longest_timeout
        self.requests.append(json.loads(body))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        vectors = [{"embedding": [1, len(text)]} for text in self.requests[-1]["input"]]
        return 200, {}, json.dumps({"data": vectors}).encode()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_servers_python_and_quotes_can_take_the_source(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 9))
    assert "$python$" not in source
    assert "\x00" not in source
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert "omop_emb" not in imported
    assert "" not in imported, "a relative import means nothing in a function body"


@unhurried
@given(replies, st.integers(1, 3), st.sampled_from(["cosine", "l2", "inner_product"]))
def test_no_reply_raises_anything_but_an_embedding_error(reply: Any, expected: int, distance: str) -> None:
    problem, vectors = None, []
    try:
        vectors = parse_reply({**SETTINGS, "distance": distance}, json.dumps(reply).encode(), expected)
    except EmbeddingError as error:
        problem = error
    if problem:
        assert problem.sqlstate == "OE004"
        assert problem.message.isprintable()
        assert len(problem.message) < 500
        return
    assert len(vectors) == expected
    for vector in vectors:
        assert len(vector) == 2
        assert all(math.isfinite(number) for number in vector)
        assert json.loads(vector_literal(vector))


@unhurried
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_embedding_error(reply: bytes) -> None:
    with pytest.raises(EmbeddingError, match="not a list of embeddings"):
        parse_reply(SETTINGS, reply, 1)


@unhurried
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_the_text_form_keeps_every_float32(vector: list[float]) -> None:
    literal = vector_literal(vector)
    assert literal.startswith("[")
    assert literal.endswith("]")
    read = [float(number) for number in literal[1:-1].split(",")]
    assert struct.pack(f"{len(read)}f", *read) == struct.pack(f"{len(vector)}f", *vector)


@unhurried
@given(st.binary(max_size=300), st.text(max_size=50), st.sampled_from([QUERY, DOCUMENT]))
def test_the_words_of_an_endpoint_are_one_printable_line(reply: bytes, text: str, role: str) -> None:
    words = endpoint_words(reply, role, [text], "secret")
    assert len(words) <= 303
    assert "\n" not in words
    assert "\x00" not in words
    words.encode()


@unhurried
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), json_values)
def test_the_words_of_an_endpoint_never_hold_the_query(text: str, other: Any) -> None:
    query = f"unmistakable {text}"
    for reply in (query, json.dumps([query, other]), json.dumps({"error": {"message": query}}), repr({"x": query})):
        assert "unmistakable" not in endpoint_words(reply.encode(), QUERY, [query])
        assert "unmistakable" not in endpoint_words(reply.encode(), DOCUMENT, ["other"], "unmistakable")


def test_batches_and_their_order() -> None:
    post, clock = Post(), Clock()
    texts = ["x" * length for length in range(1, 11)]
    vectors = embed(SETTINGS, QUERY, texts, post, clock.pause, clock)
    assert [len(request["input"]) for request in post.requests] == [4, 4, 2]
    assert [list(vector) for vector in vectors] == [[1, len("query: ") + length] for length in range(1, 11)]
    assert post.requests[0] == {
        "encoding_format": "base64",
        "task": "query",
        "model": "m",
        "input": ["query: " + text for text in texts[:4]],
    }


def test_retries_back_off_and_end_within_the_timeout() -> None:
    post, clock = Post(*[(500, {}, b"no")] * 9), Clock()
    with pytest.raises(EmbeddingError, match="HTTP 500: no"):
        embed(SETTINGS, QUERY, ["x"], post, clock.pause, clock)
    assert len(post.requests) == 3
    assert 0.1 <= clock.pauses[0] <= 0.2
    assert 0.2 <= clock.pauses[1] <= 0.4

    post, clock = Post(*[(429, {}, b"slow down")] * 99), Clock()
    with pytest.raises(EmbeddingError, match="HTTP 429: slow down"):
        embed(SETTINGS, QUERY, ["x"], post, clock.pause, clock)
    assert clock.now < 1
    assert len(post.requests) > 2, "a busy endpoint is asked again for as long as timeout_ms allows"


@pytest.mark.parametrize(("role", "longest"), [(QUERY, 1), (DOCUMENT, 20)])
def test_where_letters_can_answer_a_query_is_not_sent_again_for_long(role: str, longest: float) -> None:
    patient = {**SETTINGS, "timeout_ms": 20_000, "max_retries": 99, "lexical_fallback": True}
    for failure in ((503, {"retry-after": "0.3"}, b"busy"), (500, {}, b"no"), OSError("reset")):
        post, clock = Post(*[failure] * 999), Clock()
        post.longest_timeout = 20
        with pytest.raises(EmbeddingError) as raised:
            embed(patient, role, ["x"], post, clock.pause, clock)
        assert raised.value.unavailable
        assert longest / 4 < clock.now < longest
        assert len(post.requests) > 2


@pytest.mark.parametrize(
    ("failure", "unavailable"),
    [
        *(((status, {}, b"no"), True) for status in (408, 429, 500, 503, 599)),
        *(((status, {}, b"no"), False) for status in (304, 400, 401, 404, 413)),
        *((error, True) for error in (TimeoutError(), ConnectionRefusedError(), OSError("no route to host"))),
        *((error, False) for error in (ValueError("port"), OSError("certificate verify failed"))),
        ((200, {}, b"not json"), False),
    ],
)
def test_what_counts_as_unavailable(failure: Any, unavailable: bool) -> None:
    post, clock = Post(failure), Clock()
    with pytest.raises(EmbeddingError) as raised:
        embed({**SETTINGS, "timeout_ms": 1, "max_retries": 0}, QUERY, ["x"], post, clock.pause, clock)
    assert raised.value.unavailable == unavailable


def test_a_lost_connection_is_tried_again_and_a_bad_certificate_is_not() -> None:
    post, clock = Post(ConnectionResetError("reset"), OSError("no route")), Clock()
    assert len(embed(SETTINGS, QUERY, ["x"], post, clock.pause, clock)) == 1
    assert len(post.requests) == 3
    for failure in (OSError("certificate verify failed"), ConnectionRefusedError(), TimeoutError(), ValueError("port")):
        post, clock = Post(failure), Clock()
        with pytest.raises(EmbeddingError, match="could not be reached") as raised:
            embed(SETTINGS, QUERY, ["x"], post, clock.pause, clock)
        assert raised.value.sqlstate == "OE003"
        assert len(post.requests) == 1


def test_an_interrupt_is_never_caught() -> None:
    class InterruptError(Exception):
        pass

    post, clock = Post(InterruptError()), Clock()
    with pytest.raises(InterruptError):
        embed_each(SETTINGS, DOCUMENT, ["x"], post, clock.pause, clock)


@unhurried
@given(st.sets(st.integers(0, 30), max_size=8), st.integers(1, 9))
def test_exactly_the_bad_texts_of_a_batch_fail(bad: set[int], batch_size: int) -> None:
    class Choosy(Post):
        def __call__(self, *arguments: Any) -> tuple[int, Mapping[str, str], bytes]:
            answer = super().__call__(*arguments)
            if {f"doc: {number}" for number in bad} & set(self.requests[-1]["input"]):
                return 400, {}, b"bad text"
            return answer

    clock = Clock()
    texts = [str(number) for number in range(31)]
    results = embed_each({**SETTINGS, "batch_size": batch_size}, DOCUMENT, texts, Choosy(), clock.pause, clock)
    for number, (vector, problem) in enumerate(results):
        assert (vector is None) == (problem is not None) == (number in bad)
        if vector:
            assert list(vector) == [1, len(f"doc: {number}")]


@pytest.mark.parametrize("text", [None, "", " \n\t", "\u00a0\u2003", "x" * (MAX_CHARACTERS + 1), 7])
def test_a_bad_text_is_no_request(text: Any) -> None:
    post, clock = Post(), Clock()
    with pytest.raises(EmbeddingError) as raised:
        embed(SETTINGS, QUERY, [text], post, clock.pause, clock)
    assert raised.value.sqlstate == "OE005"
    ((vector, problem),) = embed_each(SETTINGS, DOCUMENT, [text], post, clock.pause, clock)
    assert vector is None
    assert problem == raised.value.message
    assert post.requests == []
