"""An OpenAI-compatible endpoint in a process of its own that costs next to nothing.

It has ready-made vectors; environment.vector_number says which of them a text gets. It may be told to take its time.
"""

import base64
import json
import multiprocessing
import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

from tests.benchmarks.environment import vector_number, vectors


@dataclass(frozen=True)
class Endpoint:
    """Its base URL, and how many texts it was sent so far."""

    url: str
    _texts: "Synchronized[int]"

    @property
    def texts(self) -> int:
        """The number of texts."""
        return self._texts.value


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    embeddings: list[bytes]
    latency: float
    texts: "Synchronized[int]"


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer requests until the client goes away; http.server would take longer over the headers than this."""
        while self.rfile.readline():
            length = 0
            while (header := self.rfile.readline().rstrip()) != b"":
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            texts = json.loads(self.rfile.read(length))["input"]
            with self.server.texts.get_lock():
                self.server.texts.value += len(texts)
            if self.server.latency:
                time.sleep(self.server.latency)
            body = self.reply(texts)
            self.request.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )

    def reply(self, texts: list[str]) -> bytes:
        """Return the JSON for a list of texts."""
        embeddings = self.server.embeddings
        items = [
            b'{"object":"embedding","index":%d,"embedding":"%b"}'
            % (index, embeddings[vector_number(text, len(embeddings))])
            for index, text in enumerate(texts)
        ]
        return b'{"object":"list","data":[%b]}' % b",".join(items)


def _serve(count: int, seed: int, latency: float, texts: "Synchronized[int]", pipe: Connection) -> None:
    embeddings = [base64.b64encode(vector.tobytes()) for vector in vectors(count, seed).astype("<f4")]
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.embeddings, server.latency, server.texts = embeddings, latency, texts
        pipe.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def running_endpoint(count: int, seed: int, latency: float = 0) -> Iterator[Endpoint]:
    """Serve ``vectors(count, seed)``, each reply after ``latency`` seconds, until the block ends."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    texts = context.Value("q", 0)
    process = context.Process(target=_serve, args=(count, seed, latency, texts, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield Endpoint(f"http://127.0.0.1:{receiver.recv()}/v1", texts)
    finally:
        process.terminate()
        process.join()
