"""From role to prefix to request to checked vectors: the one place where this rule is written.

``embed`` and ``embed_each`` are given the settings of a configuration and three callables, so that the same rule
runs inside a database function and in a Python process:

- ``post(url, headers, body, timeout)`` sends a request and returns (status, headers with lower-case names, body);
- ``pause(seconds)`` waits;
- ``clock()`` returns seconds.
"""

import array
import base64
import binascii
import http.client
import json
import math
import os
import random
import re
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

DOCUMENT = "document"
QUERY = "query"

MAX_CHARACTERS = 32768
MAX_REPLY_OVERHEAD = 131072
MAX_REPLY_BYTES_PER_DIMENSION = 64
PROBE_TEXT = "diabetes"
# How long it is waited for where another text got no answer.
PROBE_MS = 5000
LARGEST_COMPONENT = {"vector": 3.4028235e38, "halfvec": 65504.0}
RESERVED_PARAMS = ("model", "input")
# What clients send to Ollama, which takes any key: no secret, and a word that error messages need.
PLACEHOLDER_KEY = "ollama"
# What has another answer than vectors asks a busy endpoint again, but not for long.
RETRY_SECONDS_BEFORE_FALLBACK = 1.0
# How long a session asks other endpoints first when one was unavailable.
REST_SECONDS = 60.0
# Rejections of the request as a whole, whatever texts it holds.
NOT_ABOUT_TEXTS = (401, 403, 404, 405, 407, 408, 429, 503)

Post = Callable[[str, Mapping[str, str], bytes, float], Tuple[int, Mapping[str, str], bytes]]
Pause = Callable[[float], None]
Clock = Callable[[], float]
Settings = Mapping[str, Any]
# Of float32, from a reply: a tenth of the memory of a list.
Vector = Sequence[float]


class EmbeddingError(Exception):
    """A text could not be embedded.

    ``sqlstate`` is OE003 (unreachable, timeout, non-2xx), OE004 (a reply that makes no sense) or OE005 (a bad text).
    ``about_texts`` is true when the texts of the request may be the reason, so that a smaller batch is worth a try.
    ``unavailable`` is true when the endpoint is down or overloaded, which may pass without anybody's doing.
    ``busy`` is for how many seconds an overloaded one wants to be left alone, None for other errors.
    """

    def __init__(
        self,
        sqlstate: str,
        message: str,
        hint: str,
        about_texts: bool = False,
        unavailable: bool = False,
        busy: Optional[float] = None,
    ) -> None:
        Exception.__init__(self, message)
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint
        self.about_texts = about_texts
        self.unavailable = unavailable
        self.busy = busy


def prefixed(settings: Settings, role: str, texts: Sequence[str]) -> List[str]:
    """Return the texts as they are sent: the role's prefix, verbatim, then the text, verbatim."""
    prefix = settings[role + "_prefix"]
    return [prefix + text for text in texts]


def request_body(settings: Settings, role: str, texts: Sequence[str]) -> bytes:
    """Return the JSON body of an OpenAI-compatible embeddings request for one batch in one role."""
    body: Dict[str, Any] = {"encoding_format": "base64"}
    params = settings[role + "_params"]
    body.update(json.loads(params) if isinstance(params, str) else params or {})
    body["model"] = settings["model"]
    body["input"] = prefixed(settings, role, texts)
    return json.dumps(body).encode("utf-8")


def request_headers(settings: Settings) -> Dict[str, str]:
    """Return the headers of a request; its secret is ``api_key`` or in the variable that ``api_key_name`` names."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    name, secret = settings["api_key_name"], settings.get("api_key")
    if secret:
        headers["Authorization"] = "Bearer " + secret
    elif name:
        secret = os.environ.get(name)
        if not secret:
            raise EmbeddingError(
                "OE003",
                f"the secret {name!r} that api_key_name names is not set where the request is sent from",
                f"Set the environment variable {name} of the worker that sends it or, for SQL functions, of the"
                " PostgreSQL server (on Debian in /etc/postgresql/VERSION/CLUSTER/environment), and restart it.",
            )
        if re.search(r"[^!-~]", secret):
            raise EmbeddingError(
                "OE003",
                f"the secret {name!r} that api_key_name names holds blanks, line ends or other characters that a"
                " header cannot carry",
                f"Set the environment variable {name} there to the key alone and restart what sends the request.",
            )
        headers["Authorization"] = "Bearer " + secret
    return headers


def check_text(text: Any) -> None:
    """Raise OE005 for a text that is empty, blank, too long or not a text."""
    if not isinstance(text, str) or not text.strip():
        raise EmbeddingError("OE005", "the text to embed is empty", "Pass a text with at least one visible character.")
    if len(text) > MAX_CHARACTERS:
        raise EmbeddingError(
            "OE005",
            f"the text to embed has {len(text)} characters, the limit is {MAX_CHARACTERS}",
            "Embedding models read a few hundred words: pass the part that says what is searched for.",
        )


def text_problem(text: Any) -> Optional[str]:
    """Return why a text cannot be embedded anywhere, None when it can."""
    try:
        check_text(text)
    except EmbeddingError as error:
        return error.message
    return None


def decode_vector(value: Any) -> Vector:
    """Return one vector of a reply, from base64 (little-endian float32) or from a list of numbers."""
    if isinstance(value, str):
        vector = array.array("f")
        vector.frombytes(base64.b64decode(value, validate=True))
        if sys.byteorder == "big":
            vector.byteswap()
        return vector
    if not isinstance(value, list):
        raise TypeError(f"an embedding is {type(value).__name__}, neither a list of numbers nor base64")
    # Rounded once, to what is stored, so that both forms give the same vector.
    return array.array("f", value)


def check_vector(settings: Settings, vector: Vector) -> Vector:
    """Return the vector, of length 1 for inner_product; ValueError for a wrong length, NaN, infinity or all zeros."""
    wanted = settings["dimensions"]
    if wanted is not None and len(vector) != wanted:
        raise ValueError(f"a vector has {len(vector)} dimensions, the configuration says {wanted}")
    if not vector:
        raise ValueError("a vector has no dimensions")
    length = math.hypot(*vector)
    if not math.isfinite(length):
        raise ValueError("a vector holds NaN or infinity")
    limit = LARGEST_COMPONENT[settings["storage"]]
    if length > limit and max(map(abs, vector)) > limit:
        raise ValueError(f"a vector holds a number beyond {limit:g}, which {settings['storage']} cannot store")
    if settings["distance"] in ("cosine", "inner_product"):
        if not length:
            raise ValueError("a vector holds only zeros, which has no direction to compare")
        if not 1e-15 < length < 1e15:
            raise ValueError(f"a vector has length {length:g}, which cannot be compared in single precision")
        if settings["distance"] == "inner_product":
            return array.array("f", [value / length for value in vector])
    return vector


def parse_reply(settings: Settings, reply: bytes, expected: int) -> List[Vector]:
    """Return the checked vectors of a reply in the order of the texts, by the reply's ``index`` fields."""
    try:
        # Nothing interrupts the JSON parser.
        bytes_per_text = 1024 + MAX_REPLY_BYTES_PER_DIMENSION * (settings["dimensions"] or 2048)
        if len(reply) > MAX_REPLY_OVERHEAD + expected * bytes_per_text:
            raise ValueError(f"{len(reply)} bytes for {expected} texts")
        items = json.loads(reply.decode("utf-8"))["data"]
        if not isinstance(items, list) or len(items) != expected:
            found = len(items) if isinstance(items, list) else type(items).__name__
            raise ValueError(f"{found} vectors for {expected} texts")
        vectors: List[Optional[Vector]] = [None] * expected
        for position, item in enumerate(items):
            index = item.get("index", position)
            if type(index) is not int or not 0 <= index < expected or vectors[index] is not None:
                raise ValueError(f"index {str(index)[:20]!r} among {expected} vectors")
            vectors[index] = check_vector(settings, decode_vector(item["embedding"]))
        lengths = sorted({len(vector) for vector in vectors if vector is not None})
        if len(lengths) > 1:
            raise ValueError(f"vectors of {lengths[0]} and of {lengths[-1]} dimensions in one reply")
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        binascii.Error,
        RecursionError,
    ) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise EmbeddingError(
            "OE004",
            f"the endpoint {settings['api_base']} answered what is not a list of embeddings: {reason}",
            "Check that api_base is the base URL of an OpenAI-compatible API (it usually ends in /v1) and that model"
            f" {settings['model']!r} is an embedding model with the configured dimensions.",
            about_texts=True,
        ) from None
    return [vector for vector in vectors if vector is not None]


def endpoint_words(reply: bytes, role: str, texts: Sequence[str], secret: str = "") -> str:
    """Return the start of an error reply in one line, without the secret, the texts and any word of a query."""
    words = reply[:4000].decode("utf-8", "replace")
    if len(reply) > 4000:
        words = re.sub(r"\w+$", "", words)
    try:
        parsed = json.loads(reply.decode("utf-8"))
        error = parsed.get("error", parsed.get("message", parsed.get("detail", words)))
        words = str(error.get("message", words) if isinstance(error, dict) else error)
    except (ValueError, AttributeError, RecursionError):
        pass
    for text in [secret, *texts]:
        if len(text) > 2:
            words = words.replace(text, "...").replace(json.dumps(text)[1:-1], "...")
    if role == QUERY:
        # Endpoints quote their input cut, escaped or in pieces.
        said = {word for text in texts for word in re.findall(r"\w{3,}", (text + " " + json.dumps(text)).lower())}
        words = re.sub(r"\w{3,}", lambda word: "..." if word[0].lower() in said else word[0], words)
    words = re.sub(r"<[^>]*>|[\x00-\x1f\x7f\ud800-\udfff]", " ", words)
    words = " ".join(words.split())
    return words if len(words) <= 300 else words[:300] + "..."


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Return the seconds of a Retry-After header, None when there is none that is a number."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def unreachable(settings: Settings, reason: str, hint: str = "", unavailable: bool = True) -> EmbeddingError:
    """Return the OE003 error for an endpoint that could not be asked."""
    return EmbeddingError(
        "OE003",
        f"the endpoint {settings['api_base']} could not be reached: {reason}",
        hint or "Check that it runs and that api_base is right as seen from where the request is sent.",
        unavailable=unavailable,
    )


def retry_seconds(settings: Settings, role: str) -> float:
    """Return for how long a failed request may be sent again: ``timeout_ms``, less where a search can do without."""
    seconds: float = settings["timeout_ms"] / 1000.0
    if role == QUERY and settings.get("lexical_fallback"):
        return min(seconds, RETRY_SECONDS_BEFORE_FALLBACK)
    return seconds


def embed_batch(
    settings: Settings, role: str, texts: Sequence[str], post: Post, pause: Pause, clock: Clock
) -> List[Vector]:
    """Return one checked vector per text of one batch, after retries with back-off within ``retry_seconds``."""
    url = settings["api_base"].rstrip("/") + "/embeddings"
    headers = request_headers(settings)
    secret = headers.get("Authorization", "")[len("Bearer ") :]
    secret = "" if secret == PLACEHOLDER_KEY else secret
    body = request_body(settings, role, texts)
    started = clock()
    deadline = started + settings["timeout_ms"] / 1000.0
    last_retry = started + retry_seconds(settings, role)
    attempt = 0
    while True:
        attempt += 1
        backoff = min(5.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        about_texts = False
        try:
            status, reply_headers, reply = post(url, headers, body, deadline - clock())
        except TimeoutError:
            raise unreachable(
                settings,
                f"no answer within timeout_ms = {settings['timeout_ms']}",
                "Raise timeout_ms, lower batch_size, or check what keeps the endpoint busy.",
            ) from None
        except ConnectionRefusedError:
            raise unreachable(settings, "connection refused") from None
        except (OSError, http.client.HTTPException) as error:
            reason = endpoint_words(str(error).encode("utf-8", "replace"), role, texts, secret)
            lasting = "certificate" in str(error).lower()
            failure = unreachable(settings, reason or type(error).__name__, unavailable=not lasting)
            final = lasting or attempt > settings["max_retries"]
        except ValueError as error:
            raise unreachable(settings, f"api_base is not a usable URL: {error}", unavailable=False) from None
        else:
            if 200 <= status < 300:
                return parse_reply(settings, reply, len(texts))
            about_texts = status not in NOT_ABOUT_TEXTS
            failure = EmbeddingError(
                "OE003",
                f"the endpoint {settings['api_base']} answered HTTP {status}:"
                f" {endpoint_words(reply, role, texts, secret)}",
                f"Check model {settings['model']!r}, the {role}_prefix {settings[role + '_prefix']!r} and the request"
                " settings of the configuration.",
                about_texts,
                unavailable=status in (408, 429) or status >= 500,
            )
            if status in (429, 503):
                failure.busy = retry_after(reply_headers) or 0.0
                backoff, final = max(backoff, failure.busy), False
            else:
                final = status < 500 or attempt > settings["max_retries"]
        if final or clock() + backoff >= last_retry:
            raise failure
        pause(backoff)


def embed(settings: Settings, role: str, texts: Sequence[str], post: Post, pause: Pause, clock: Clock) -> List[Vector]:
    """Return one checked vector per text, sent in batches of ``batch_size``; the first error ends it."""
    for text in texts:
        check_text(text)
    vectors: List[Vector] = []
    for start in range(0, len(texts), settings["batch_size"]):
        batch = texts[start : start + settings["batch_size"]]
        vectors.extend(embed_batch(settings, role, batch, post, pause, clock))
    return vectors


def embed_each(
    settings: Settings,
    role: str,
    texts: Sequence[str],
    post: Post,
    pause: Pause,
    clock: Clock,
    doubtful: bool = False,
) -> List[Tuple[Optional[Vector], Optional[str]]]:
    """Return (vector, None) or (None, what is wrong) for each text: a bad text doesn't take its batch with it.

    A batch that fails is halved until the bad text stands alone, but only after a harmless text was embedded:
    when that fails too, the endpoint or the configuration is wrong and the error is raised. For ``doubtful`` texts
    no answer at all counts as a failure of the batch too: they may be what kills the endpoint, or keeps it busy.
    """
    results: List[Tuple[Optional[Vector], Optional[str]]] = [(None, text_problem(text)) for text in texts]
    sound = [position for position, (_, problem) in enumerate(results) if problem is None]
    pending = [sound[start : start + settings["batch_size"]] for start in range(0, len(sound), settings["batch_size"])]
    endpoint_works = False
    while pending:
        batch = pending.pop()
        try:
            vectors = embed_batch(settings, role, [texts[position] for position in batch], post, pause, clock)
        except EmbeddingError as error:
            no_answer = doubtful and error.unavailable and error.busy is None
            if not error.about_texts and not no_answer:
                raise
            if not endpoint_works or no_answer:
                short = {**settings, "timeout_ms": min(settings["timeout_ms"], PROBE_MS), "max_retries": 0}
                try:
                    embed_batch(short if no_answer else settings, role, [PROBE_TEXT], post, pause, clock)
                except EmbeddingError:
                    raise error from None
                endpoint_works = True
            if len(batch) == 1:
                results[batch[0]] = (None, error.message)
            else:
                middle = len(batch) // 2
                pending += [batch[:middle], batch[middle:]]
        else:
            endpoint_works = True
            for position, vector in zip(batch, vectors):  # noqa: B905  strict= needs Python 3.10
                results[position] = (vector, None)
    return results


def at_an_endpoint(
    settings: Settings, resting: Dict[str, float], clock: Clock, attempt: Callable[[Settings], Any]
) -> Any:
    """Return ``attempt(settings)`` with the first of the configuration's endpoints that is available.

    Those that were not are in ``resting``, until a time of the clock, and come last; the others come in any order.
    """
    bases = [settings["api_base"], *settings["further_api_bases"]]
    random.shuffle(bases)
    bases.sort(key=lambda base: resting.get(base, 0.0) > clock())
    for position, base in enumerate(bases, 1):
        try:
            return attempt({**settings, "api_base": base})
        except EmbeddingError as error:
            if not error.unavailable or position == len(bases):
                raise
            resting[base] = clock() + REST_SECONDS
    raise ValueError("a configuration has an endpoint")


def vector_literal(vector: Sequence[float]) -> str:
    """Return pgvector's text form; nine digits keep every float32 exactly."""
    return "[" + (",".join(["%.9g"] * len(vector)) % tuple(vector)) + "]"
