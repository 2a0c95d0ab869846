"""HTTP for a database function: every wait ends within a twentieth of a second of a cancel or a timeout.

PostgreSQL delivers statement_timeout, cancel and terminate only when the backend asks for them, so no call here
blocks: sockets are non-blocking and each wait is cut into short ones with ``check`` in between, which raises when
the statement has to end. What ``check`` raises is never caught.
"""

import functools
import http.client
import io
import os
import select
import signal
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

CHECK_SECONDS = 0.05
MAX_REPLY_BYTES = 256 * 1024 * 1024

Check = Callable[[], Any]


class Waiter:
    """Waits for a socket or for time to pass, until ``deadline`` (seconds of ``time.monotonic``)."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.deadline = 0.0
        self.checked = 0.0

    def step(self) -> float:
        """Return how many seconds may be waited now; TimeoutError when there are none left."""
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("timed out")
        if now - self.checked >= CHECK_SECONDS:
            self.check()
            self.checked = now
        return min(CHECK_SECONDS, self.deadline - now)

    def ready(self, sock: socket.socket, event: int) -> None:
        """Return when the socket can be read or written."""
        poller = select.poll()
        poller.register(sock.fileno(), event)
        while not poller.poll(self.step() * 1000):
            pass

    def attempt(self, sock: socket.socket, event: int, operation: Callable[[], Any]) -> Any:
        """Return what the non-blocking operation returns, once it no longer has to wait."""
        while True:
            try:
                return operation()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as blocked:
                if isinstance(blocked, ssl.SSLWantReadError):
                    self.ready(sock, select.POLLIN)
                elif isinstance(blocked, ssl.SSLWantWriteError):
                    self.ready(sock, select.POLLOUT)
                else:
                    self.ready(sock, event)


class Reader(io.RawIOBase):
    """The receiving side of a socket as a file, as http.client reads it."""

    def __init__(self, sock: socket.socket, waiter: Waiter) -> None:
        self.sock = sock
        self.waiter = waiter

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> Any:
        """Fill the buffer with what has arrived; 0 at the end of the stream."""
        self.waiter.step()
        return self.waiter.attempt(self.sock, select.POLLIN, lambda: self.sock.recv_into(buffer))


class InterruptibleSocket:
    """What http.client needs of a socket, over a non-blocking one."""

    def __init__(self, sock: socket.socket, waiter: Waiter) -> None:
        self.sock = sock
        self.waiter = waiter

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        view = memoryview(data)
        while view:
            self.waiter.step()
            sent = self.waiter.attempt(self.sock, select.POLLOUT, functools.partial(self.sock.send, view[:65536]))
            view = view[sent:]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the receiving side; closing it leaves the socket open."""
        return io.BufferedReader(Reader(self.sock, self.waiter), 65536)

    def quiet(self) -> bool:
        """Return whether an idle connection is still good: one that can be read was closed by the other side."""
        poller = select.poll()
        poller.register(self.sock.fileno(), select.POLLIN)
        return not poller.poll(0)

    def close(self) -> None:
        """Do nothing: http.client closes its socket before it reads a reply that ends with the connection."""

    def hang_up(self) -> None:
        """Close the connection."""
        self.sock.close()


def resolve(host: str, port: int, waiter: Waiter) -> List[Any]:
    """Return the addresses of a host as ``socket.getaddrinfo`` does, without blocking on the name service."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answer: Dict[str, Any] = {}

    def look_up() -> None:
        try:
            answer["addresses"] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            answer["error"] = error

    thread = threading.Thread(target=look_up, daemon=True)
    # PostgreSQL's signal handlers must run in the main thread only; a thread inherits the mask it was started under.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    thread.join(0.005)
    while thread.is_alive():
        thread.join(waiter.step())
    if "error" in answer:
        raise OSError(f"the host name {host!r} is not known: {answer['error']}")
    return list(answer["addresses"])


def connect(host: str, port: int, context: Optional[ssl.SSLContext], waiter: Waiter) -> InterruptibleSocket:
    """Return a connected socket, with TLS when a context is given; OSError when no address answers."""
    failure: Optional[OSError] = None
    for family, kind, protocol, _, address in resolve(host, port, waiter):
        sock = socket.socket(family, kind, protocol)
        connected = False
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                sock.connect(address)
            except BlockingIOError:
                waiter.ready(sock, select.POLLOUT)
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    raise OSError(number, os.strerror(number)) from None
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                waiter.attempt(sock, select.POLLIN, getattr(sock, "do_handshake"))  # noqa: B009
            connected = True
            return InterruptibleSocket(sock, waiter)
        except TimeoutError:
            raise
        except OSError as error:
            failure = error
        finally:
            if not connected:
                sock.close()
    raise failure or OSError(f"the host name {host!r} has no address")


def make_post(
    kept: Dict[Any, Any], check: Check
) -> Callable[[str, Mapping[str, str], bytes, float], Tuple[int, Dict[str, str], bytes]]:
    """Return ``post(url, headers, body, timeout)``; idle connections stay in ``kept``, one per endpoint.

    A kept connection that turns out to be stale is replaced once. OSError (TimeoutError among them) and
    http.client.HTTPException say that there is no reply.
    """

    def open_connection(scheme: str, host: str, port: int, waiter: Waiter) -> http.client.HTTPConnection:
        context = None
        if scheme == "https":
            context = kept.get("tls") or ssl.create_default_context()
            kept["tls"] = context
        connection = http.client.HTTPConnection(host, port)
        connection.sock = connect(host, port, context, waiter)
        return connection

    def exchange(
        connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], body: bytes
    ) -> Tuple[http.client.HTTPResponse, bytes]:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        reply = response.read(MAX_REPLY_BYTES + 1)
        if len(reply) > MAX_REPLY_BYTES:
            raise OSError(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return response, reply

    def post(url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Tuple[int, Dict[str, str], bytes]:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        endpoint = (parts.scheme, host, port)
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection = kept.pop(endpoint, None)
        if connection is not None and not connection.sock.quiet():
            connection.sock.hang_up()
            connection = None
        reused = connection is not None
        deadline = time.monotonic() + timeout
        while True:
            if connection is None:
                waiter = Waiter(check)
                waiter.deadline = deadline
                connection = open_connection(parts.scheme, host, port, waiter)
            wire = connection.sock
            wire.waiter.deadline = deadline
            finished = False
            try:
                response, reply = exchange(connection, path, headers, body)
                finished = not response.will_close
            except (ConnectionError, http.client.BadStatusLine):
                if not reused:
                    raise
            else:
                if finished:
                    kept[endpoint] = connection
                return response.status, {name.lower(): value for name, value in response.getheaders()}, reply
            finally:
                if not finished:
                    wire.hang_up()
            reused, connection = False, None

    return post


def close_kept(kept: Dict[Any, Any]) -> None:
    """Close the idle connections that ``post`` has kept."""
    for endpoint in [key for key in kept if key != "tls"]:
        kept.pop(endpoint).sock.hang_up()


def make_pause(check: Check) -> Callable[[float], None]:
    """Return ``pause(seconds)``, which ``check`` can end."""

    def pause(seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, CHECK_SECONDS))
            check()

    return pause
