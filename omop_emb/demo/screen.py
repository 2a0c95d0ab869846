"""What the demo prints: steps with their time, commands, and SQL with its result."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from omop_emb.errors import OmopEmbError

# Room for three lines in the tables of the demo; some drug names and synonyms go on for pages.
_CELL_LENGTH = 64


class Screen:
    """The terminal, or the file that stdout is."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)

    def heading(self, text: str) -> None:
        """Print the title of a part of the demo."""
        self._console.print()
        self._console.print(text, style="bold cyan")

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._console.print(text, style=style)

    def line(self, text: str) -> None:
        """Print text to be copied, in one line however long."""
        self._console.print(f"  {text}", style="bold", soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show that something is going on, with a running clock on a terminal, and how long it took."""
        started = time.monotonic()
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            with Progress(*columns, console=self._console, transient=True) as progress:
                progress.add_task(title, total=None)
                yield
            self._console.print(f"{title} ... ", end="")
        else:
            self._console.print(f"{title} ... ", end="")
            self._console.file.flush()
            try:
                yield
            except BaseException:
                self._console.print()
                raise
        self._console.print(f"{time.monotonic() - started:.1f} s", style="dim")

    def command(self, *arguments: str, dsn: str) -> None:
        """Run an omop-emb-admin command on ``dsn`` as a user would, its output passed through.

        Raises OmopEmbError when it fails.
        """
        self._console.print()
        self._console.print(f"$ {shlex.join(['omop-emb-admin', *arguments])}", style="bold", soft_wrap=True)
        self._console.file.flush()
        started = time.monotonic()
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "omop_emb.cli", *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMOP_EMB_DSN": dsn},
        )
        self._console.print(f"({time.monotonic() - started:.1f} s)", style="dim")
        if done.returncode:
            raise OmopEmbError(f"omop-emb-admin {arguments[0]} failed with exit code {done.returncode}")

    def query(self, connection: psycopg.Connection, statement: str) -> list[dict[str, Any]]:
        """Show a statement, run it, show its rows or its error; return the rows.

        Raises psycopg.Error, after it was shown.
        """
        self._console.print()
        syntax = Syntax(statement, "sql", theme="ansi_dark", background_color="default")
        self._console.print(_indented(syntax.highlight(statement.rstrip())))
        started = time.monotonic()
        warnings: list[str] = []

        def collect(notice: psycopg.errors.Diagnostic) -> None:
            warnings.append(f"{notice.severity}: {notice.message_primary}")

        connection.add_notice_handler(collect)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement.encode())
                names = [column.name for column in cursor.description or []]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []
                status = f"{len(rows)} row{'s' * (len(rows) != 1)}" if names else cursor.statusmessage
        except psycopg.Error as error:
            self._error(error)
            raise
        finally:
            connection.remove_notice_handler(collect)
        for warning in warnings:
            self._console.print(_indented(Text(warning, style="yellow")))
        if rows:
            self._console.print(_table(rows))
        self._console.print(f"  ({status}, {1000 * (time.monotonic() - started):.0f} ms)", style="dim")
        return rows

    def _error(self, error: psycopg.Error) -> None:
        text = Text()
        for label, part in (
            (f"ERROR {error.sqlstate}", error.diag.message_primary or str(error).strip()),
            ("DETAIL", error.diag.message_detail),
            ("HINT", error.diag.message_hint),
        ):
            if part:
                text.append("\n" if text else "")
                text.append(f"{label}: ", style="bold red" if label.startswith("ERROR") else "bold")
                text.append(part)
        self._console.print(_indented(text))


def _indented(text: Text) -> Padding:
    text.rstrip()
    return Padding(text, (0, 0, 0, 2), expand=False)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    for name in rows[0]:
        table.add_column(
            name,
            justify="right" if any(isinstance(row[name], int | float) for row in rows) else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = str(value)
    return text if len(text) <= _CELL_LENGTH else f"{text[: _CELL_LENGTH - 1]}…"
