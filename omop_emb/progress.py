"""How long steps say how far they are."""

from typing import Protocol


class Show(Protocol):
    """Is told a step, how much of it is done and, where known, how much there is; perhaps what else to say."""

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        """Show it."""


def show_nothing(step: str, done: int, total: int | None, note: str = "") -> None:
    """Show nothing."""
