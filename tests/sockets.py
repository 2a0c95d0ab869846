"""Servers that misbehave below HTTP: each yields its port on loopback."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Peer:
    """Where a misbehaving server listens, and whether it was reached; one that cannot know says yes."""

    def __init__(self, port: int, *, can_know: bool = True) -> None:
        self.port = port
        self.reached = threading.Event()
        self._can_know = can_know
        self.forget()

    def forget(self) -> None:
        """Wait for the next connection."""
        if self._can_know:
            self.reached.clear()
        else:
            self.reached.set()


@contextmanager
def _accepting(treat: Callable[[socket.socket, threading.Event], None], buffer: int | None = None) -> Iterator[Peer]:
    """Accept connections and treat each in a thread, until the block ends."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    with socket.socket() as listener:
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.02)
        peer = Peer(listener.getsockname()[1])

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                treat(connection, stop)

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                peer.reached.set()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield peer
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def _read_request(connection: socket.socket) -> None:
    """Read a whole request: closing with something unread would reset the connection."""
    head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)


@contextmanager
def silent() -> Iterator[Peer]:
    """Accept, read everything and never answer."""

    def swallow(connection: socket.socket, stop: threading.Event) -> None:
        connection.settimeout(0.02)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return

    with _accepting(swallow) as peer:
        yield peer


@contextmanager
def dripping() -> Iterator[Peer]:
    """Answer with one byte of a header every 50 ms, for ever."""

    def drip(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not stop.wait(0.05):
            connection.sendall(b"a")

    with _accepting(drip) as peer:
        yield peer


@contextmanager
def flooding() -> Iterator[Peer]:
    """Answer with a body without end."""

    def flood(connection: socket.socket, stop: threading.Event) -> None:
        _read_request(connection)
        connection.settimeout(0.02)
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"data": [')
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection.send(b"[0]," * 16384)

    with _accepting(flood) as peer:
        yield peer


@contextmanager
def oversized() -> Iterator[Peer]:
    """Answer with a hundred megabytes of JSON that would take seconds to parse."""
    chunk = b"[0]," * 262144

    def pour(connection: socket.socket, _: threading.Event) -> None:
        _read_request(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"data": [')
        for _chunk in range(100):
            connection.sendall(chunk)
        connection.sendall(b"[0]]}")

    with _accepting(pour) as peer:
        yield peer


@contextmanager
def deaf() -> Iterator[Peer]:
    """Accept and read nothing, with a receive buffer that is full at once."""

    def hold(_: socket.socket, stop: threading.Event) -> None:
        stop.wait()

    with _accepting(hold, buffer=1) as peer:
        yield peer


@contextmanager
def crowded() -> Iterator[Peer]:
    """Listen with a full backlog, so that connecting waits for ever."""
    with socket.socket() as listener, contextlib.ExitStack() as crowd:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        peer = Peer(listener.getsockname()[1], can_know=False)
        while True:
            visitor = crowd.enter_context(socket.socket())
            visitor.settimeout(0.3)
            try:
                visitor.connect(("127.0.0.1", peer.port))
            except TimeoutError:
                break
        yield peer


@contextmanager
def babbling(answer: bytes) -> Iterator[Peer]:
    """Answer every request with the bytes and close."""

    def babble(connection: socket.socket, _: threading.Event) -> None:
        _read_request(connection)
        connection.sendall(answer)

    with _accepting(babble) as peer:
        yield peer
