"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from omop_emb.errors import OmopEmbError


class OutputFile:
    """A file that takes the place of ``path`` when it was written; until then ``path`` is as it was."""

    def __init__(self, path: Path) -> None:
        self._shown = path
        self._path = Path(os.path.realpath(path))
        self._temporary = self._path.with_name(f".{self._path.name[:100]}.{secrets.token_hex(4)}")
        with self._readable_errors():
            if self._path.exists() and not stat.S_ISREG(self._path.stat().st_mode):
                raise OmopEmbError(f"cannot write {path}: it is not a regular file")
            self._file = self._temporary.open("x", encoding="utf-8")

    def write(self, text: str) -> None:
        """Write the text and put the file in its place."""
        with self._readable_errors():
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)

    def close(self) -> None:
        """Remove what was not written to the end."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OmopEmbError(f"cannot write {self._shown}: {error.strerror}") from error


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[OutputFile]:
    """Open ``path`` for writing, at once, so that a path that cannot be written fails before any work.

    Raises OmopEmbError then, and when the disk is full.
    """
    file = OutputFile(path)
    try:
        yield file
    finally:
        file.close()
