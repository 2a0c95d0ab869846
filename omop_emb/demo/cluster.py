"""A throwaway private PostgreSQL server in a temporary directory."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from omop_emb.demo.binaries import find_binaries
from omop_emb.errors import OmopEmbError

SUPERUSER = "postgres"

# Nothing here outlives the process, so durability is only a cost.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "256MB",
}


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold signals that end a program back until the block is done, then deliver what came."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _: came.append(received))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Cluster:
    """A private PostgreSQL server that lives as long as the ``with`` block, then leaves nothing behind.

    It listens on a unix socket in its own directory (only this user and root can enter; no password) and on
    a free port of 127.0.0.1 (random password, in :attr:`password`). It runs as the current user, or as the
    system user ``postgres`` when that is root. Never touches another cluster.

    The server is outside the terminal's process group, so that Ctrl-C reaches this process only. SIGTERM and
    SIGHUP, where their default action is in force, become ``SystemExit`` for the duration, so that the block
    is left in order. If this process is killed outright, the server stops by itself where the program
    ``setpriv`` exists, but its directory ``/tmp/omop_emb_*`` stays. The same happens when the thread that
    entered the block ends before the block does: enter it in the main thread.

    ``settings`` are added to postgresql.conf, ``environment`` to the server's otherwise bare environment.
    """

    def __init__(
        self, *, settings: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._bin, self.major = find_binaries()
        self._settings = {**_SETTINGS, **(settings or {})}
        path = f"{self._bin}{os.pathsep}{os.defpath}"
        self._environment = {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", **(environment or {})}
        self._account = _server_account()
        self._process: subprocess.Popen[bytes] | None = None
        self._handled: list[signal.Signals] = []
        self.socket_directory = _base_directory(self._account) / f"omop_emb_{secrets.token_hex(6)}"
        self.port = 0
        self.password = secrets.token_urlsafe(18)

    @property
    def dsn(self) -> str:
        """The connection string of the superuser, over the socket, for database ``postgres``."""
        return self.dsn_for("postgres")

    def dsn_for(self, database: str) -> str:
        """Return the connection string of the superuser, over the socket, for ``database``."""
        return make_conninfo(host=str(self.socket_directory), port=self.port, user=SUPERUSER, dbname=database)

    @property
    def psql(self) -> str:
        """The psql command line for database ``postgres``, for any user of this machine."""
        return self.psql_for("postgres")

    def psql_for(self, database: str) -> str:
        """Return the psql command line for ``database``, for any user of this machine."""
        return f"PGPASSWORD={self.password} psql -h 127.0.0.1 -p {self.port} -U {SUPERUSER} {database}"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.socket_directory / "server.log"

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create database ``name``, as a copy of database ``template`` if given (nobody may be in it)."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop database ``name`` if it exists, ending the sessions that are in it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if in_main_thread and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)
                self._handled.append(number)
        try:
            self._create_directory()
            self._initialise()
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _create_directory(self) -> None:
        self.socket_directory.mkdir(mode=0o700)
        if self._account:
            os.chown(self.socket_directory, self._account.pw_uid, self._account.pw_gid)

    def _initialise(self) -> None:
        """Fill the data directory."""
        password_file = self.socket_directory / "password"
        password_file.write_text(self.password)
        # For the server's account; nobody else can enter the directory.
        password_file.chmod(0o644)
        data = self.socket_directory / "data"
        command: list[str | Path] = [
            self._bin / "initdb",
            "-D",
            data,
            "-U",
            SUPERUSER,
            "--pwfile",
            password_file,
        ]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        command += ["--no-sync", "--no-instructions"]
        self._run(command, "a private PostgreSQL cluster could not be initialised")
        password_file.unlink()

    def _run(self, command: Sequence[str | Path], failure: str) -> None:
        """Run a program of PostgreSQL as the server's account; OmopEmbError with its output when it fails."""
        done = subprocess.run(  # noqa: S603
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._process_options(),
        )
        if done.returncode:
            raise OmopEmbError(failure, hint=done.stdout.decode(errors="replace").strip())

    def _start(self) -> None:
        for _ in range(5):
            self._choose_port()
            self._launch()
            if self._is_up():
                return
            said = self.log.read_text(errors="replace")
            # Another process took the port in between.
            if "could not bind" not in said:
                break
        raise OmopEmbError("the private PostgreSQL server did not start", hint="\n".join(said.splitlines()[-8:]))

    def _choose_port(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
        }
        quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
        configuration = "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
        with (self.socket_directory / "data/postgresql.conf").open("a") as file:
            file.write(configuration)

    def _launch(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self.socket_directory / "data")]
        setpriv = shutil.which("setpriv")
        if setpriv:
            command = [setpriv, "--pdeathsig", "INT", "--", *command]
        with self.log.open("wb") as log, signals_deferred():
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._process_options()
            )

    def _process_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "env": self._environment,
            "cwd": self.socket_directory,
            "start_new_session": True,
        }
        if self._account:
            groups = os.getgrouplist(self._account.pw_name, self._account.pw_gid)
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": groups}
        return options

    def _is_up(self) -> bool:
        assert self._process  # noqa: S101
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.03)
            else:
                return True
        return False

    def _remove(self) -> None:
        with signals_deferred():
            if self._process:
                for number, patience in ((signal.SIGINT, 10), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
                    self._process.send_signal(number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(patience)
                        break
                self._process = None
            # Backends that outlive a killed server may still write for a moment.
            for _ in range(20):
                shutil.rmtree(self.socket_directory, ignore_errors=True)
                if not self.socket_directory.exists():
                    break
                time.sleep(0.1)
        while self._handled:
            signal.signal(self._handled.pop(), signal.SIG_DFL)


def _server_account() -> pwd.struct_passwd | None:
    """Return the account to run as when this process is root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise OmopEmbError(
            "there is no system user 'postgres' to run the server as, and root may not run it",
            hint="run this as an ordinary user, or install the PostgreSQL server package",
        ) from None


def _base_directory(account: pwd.struct_passwd | None) -> Path:
    """Return a temporary directory with room for a socket's path (107 bytes) that the server may enter."""
    preferred = Path(tempfile.gettempdir()).resolve()
    enterable = account is None or all(p.stat().st_mode & 0o001 for p in (preferred, *preferred.parents))
    return preferred if enterable and len(os.fsencode(preferred)) <= 60 else Path("/tmp")  # noqa: S108
