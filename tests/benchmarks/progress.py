"""What is going on, on stderr: a line that stays on a terminal, plain lines elsewhere."""

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console

SIGN_OF_LIFE_SECONDS = 10


class Progress:
    """Shows one step at a time and for how long it has been running."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("")
        self._text = ""
        self._started = time.monotonic()
        self._said = 0.0
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._name = ""

    def within(self, name: str) -> Self:
        """Put a name before the steps that follow, or none."""
        self._name = f"{name}: " if name else ""
        return self

    def step(self, text: str) -> None:
        """Say what begins."""
        self._text = self._name + text
        self._show()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(self._name + text, soft_wrap=True)

    def _show(self) -> None:
        line = f"{time.monotonic() - self._started:4.0f} s  {self._text}"
        if self._console.is_terminal:
            self._status.update(line)
        else:
            self._console.print(line, soft_wrap=True)
        self._said = time.monotonic()

    def _tick(self) -> None:
        while not self._ended.wait(1):
            if self._console.is_terminal or time.monotonic() - self._said >= SIGN_OF_LIFE_SECONDS:
                self._show()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._ticker.join()
        self._status.stop()
