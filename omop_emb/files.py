"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from omop_emb.errors import OmopEmbError


@contextlib.contextmanager
def writing_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of the file system within the block, such as a full disk, into an OmopEmbError about ``path``."""
    try:
        yield
    except OSError as error:
        raise OmopEmbError(
            f"cannot write {os.fspath(path)}: {error.strerror or error}",
            "Nothing was written. Name a file in a directory that you may write to, with enough room.",
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file beside ``path``, at once, that takes its place when the block ends well and else is removed.

    Raises OmopEmbError when it cannot be made or put in place; what the block writes is for the caller to guard.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.partial")
    with writing_errors(path):
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise OmopEmbError(f"cannot write {os.fspath(path)}: it is not a regular file", "Name a file.")
        file = partial.open("x+b")
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
    try:
        yield file
        with writing_errors(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            partial.replace(target)
            sync_directory(target.parent)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the new name of a file last through a crash."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
