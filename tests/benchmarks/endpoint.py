"""An OpenAI-compatible endpoint in a process of its own that costs next to nothing.

It has ready-made vectors; environment.vector_number says which of them a text gets.
"""

import base64
import json
import multiprocessing
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.benchmarks.environment import vector_number, vectors


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    embeddings: list[bytes]


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
            body = self.reply(json.loads(self.rfile.read(length))["input"])
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


def _serve(count: int, seed: int, pipe: Connection) -> None:
    embeddings = [base64.b64encode(vector.tobytes()) for vector in vectors(count, seed).astype("<f4")]
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.embeddings = embeddings
        pipe.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def running_endpoint(count: int, seed: int) -> Iterator[str]:
    """Serve ``vectors(count, seed)`` until the block ends; gives the base URL."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(count, seed, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}/v1"
    finally:
        process.terminate()
        process.join()
