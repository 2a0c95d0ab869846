"""The bundled model in a process of its own."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from omop_emb.embedder import create_server


def _serve(pipe: Connection) -> None:
    with create_server() as server:
        pipe.send(server.url)
        server.serve_forever()


@contextmanager
def running_model() -> Iterator[str]:
    """Serve the bundled model until the block ends; gives the base URL."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender,), daemon=True)
    process.start()
    sender.close()
    try:
        yield receiver.recv()
    finally:
        process.terminate()
        process.join()
