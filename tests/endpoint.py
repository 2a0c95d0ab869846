"""A recording OpenAI-compatible endpoint on loopback whose answers a test decides.

Its vectors are a hash of the text they are for: equal texts get equal vectors and nothing else is meant by them.
"""

import base64
import hashlib
import json
import random
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def vector_for(text: str, dimensions: int) -> list[float]:
    """Return a unit-free vector that depends on the text alone."""
    generator = random.Random(hashlib.sha256(text.encode()).digest())
    return [generator.uniform(-1, 1) for _ in range(dimensions)]


@dataclass
class Answer:
    """What to answer instead of vectors: a status, headers and a body, after a delay in seconds.

    ``hang_up`` closes the connection without any answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang_up: bool = False


@dataclass
class Endpoint:
    """Requests as they arrived, and what decides about the answers.

    ``respond(request_body)`` may return an Answer to send instead, or None for vectors; ``change(items)`` may return
    other ``data`` items than the right ones. ``close_idle`` closes each connection after one answer, unannounced.
    ``show`` is the answer of Ollama's /api/show, whose requests go to ``shown``; without one there is none (404).
    """

    url: str
    dimensions: int = 8
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    respond: Callable[[dict[str, Any]], Answer | None] = lambda request: None
    change: Callable[[list[dict[str, Any]]], Any] = lambda items: items
    use_base64: bool = True
    close_idle: bool = False
    show: Any = None
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Every text that was sent, in order."""
        return [text for request in self.requests for text in request["input"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.server.endpoint.connections += 1

    def do_POST(self) -> None:
        endpoint = self.server.endpoint
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/api/show"):
            endpoint.shown.append({"path": self.path, **request})
            answer = Answer(404) if endpoint.show is None else Answer(body=json.dumps(endpoint.show).encode())
        else:
            endpoint.requests.append(request)
            endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = endpoint.respond(request) or Answer(body=self.vectors(request))
        time.sleep(answer.delay)
        self.close_connection = self.close_connection or answer.hang_up or endpoint.close_idle
        if answer.hang_up:
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def vectors(self, request: dict[str, Any]) -> bytes:
        endpoint = self.server.endpoint
        items: list[dict[str, Any]] = []
        for index, text in enumerate(request["input"]):
            vector: Any = vector_for(text, endpoint.dimensions)
            if endpoint.use_base64 and request.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            items.append({"object": "embedding", "index": index, "embedding": vector})
        return json.dumps({"object": "list", "data": endpoint.change(items), "model": request["model"]}).encode()

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    endpoint: Endpoint

    def handle_error(self, *_: Any) -> None:
        """A client that goes away in the middle is what some tests are about."""


@contextmanager
def running_endpoint(tls: ssl.SSLContext | None = None, **settings: Any) -> Iterator[Endpoint]:
    """Serve until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    host = "localhost" if tls else "127.0.0.1"
    server.endpoint = Endpoint(url=f"{scheme}://{host}:{server.server_port}/v1", **settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
