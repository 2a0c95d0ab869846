"""A download from Athena: a directory or zip file of tab-separated files without quotes."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from omop_emb.errors import OmopEmbError

# Small ones first: what is wrong with them should not show after an hour.
LOADED_TABLES = (
    "vocabulary", "domain", "concept_class", "relationship", "concept", "concept_synonym", "concept_relationship",
    "concept_ancestor", "drug_strength",
)  # fmt: skip
# Concepts whose names the licence keeps out of the download; a program in it fetches them into CONCEPT.csv.
NAMELESS_CPT4 = "concept_cpt4"
BLOCK = 1 << 20
LONGEST_HEADER = 1 << 16
# Opens a file until the stack is left.
Open = Callable[[ExitStack], IO[bytes]]
_ADVICE = "Load the files as Athena gives them: UTF-8, separated by tabs, without quotes, a header first."


@dataclass(frozen=True)
class VocabularyFile:
    """A file of the download: its name, its columns in lower case, and its size in bytes on disk."""

    name: str
    columns: tuple[str, ...]
    size: int
    open: Open

    def blocks(self, progress: Callable[[int], None] = lambda done: None) -> Iterator[bytes]:
        r"""Yield the file in blocks of whole lines, about a mebibyte each, that end with ``\n``.

        ``progress`` is told how many bytes on disk have been read. Raises OmopEmbError for a file that was cut off and
        for what COPY would silently take for something else.
        """
        line = 1
        with ExitStack() as stack, reading_errors(self.name):
            raw, stream = opened(stack, self.name, self.open)
            while block := stream.read(BLOCK):
                block += stream.readline(BLOCK)
                if not block.endswith(b"\n"):
                    number = line + block.count(b"\n")
                    raise OmopEmbError(
                        f"{self.name}, line {number}: no line break at its end: the file was cut off",
                        "Nothing was changed. Download it again; if it is whole, end its last line with a line break.",
                    )
                block = block.replace(b"\r\n", b"\n")
                refuse_marks(self.name, line, block)
                line += block.count(b"\n")
                yield block
                progress(raw.tell())


def find_files(path: Path) -> dict[str, VocabularyFile]:
    """Return the files of a download by their tables, with ``concept_cpt4`` where it is there.

    Raises OmopEmbError when there is no download, none with concepts, or a file that is not of Athena's format.
    """
    found: dict[str, VocabularyFile] = {}
    with reading_errors(str(path)):
        for name, size, open_file in _entries(path):
            match = re.fullmatch(r"(\w+)\.csv(\.gz)?", name.lower())
            table = match[1] if match else ""
            if table not in (*LOADED_TABLES, NAMELESS_CPT4):
                continue
            if table in found:
                raise OmopEmbError(f"{path} has both {found[table].name} and {name}", "Leave only one of them there.")
            found[table] = VocabularyFile(name, read_header(name, open_file), size, open_file)
    if "concept" not in found:
        raise OmopEmbError(
            f"{path} has no CONCEPT.csv", "Name the directory with the files of an Athena download, or its zip file."
        )
    return {table: found[table] for table in (*LOADED_TABLES, NAMELESS_CPT4) if table in found}


def _entries(path: Path) -> Iterator[tuple[str, int, Open]]:
    """Yield the name, size and opener of all files."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file():
                yield file.name, file.stat().st_size, partial(_open_file, file)
        return
    if not path.exists():
        raise OmopEmbError(f"{path} does not exist", "Name the directory with the files of an Athena download.")
    if not zipfile.is_zipfile(path):
        raise OmopEmbError(
            f"{path} is neither a directory nor a whole zip file", "Download it again, or name the directory."
        )
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.filename.startswith("__MACOSX/")]
    for entry in entries:
        yield PurePosixPath(entry.filename).name, entry.file_size, partial(_open_entry, path, entry)


def _open_file(path: Path, stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(path.open("rb"))


def _open_entry(path: Path, entry: zipfile.ZipInfo, stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(entry))


def opened(stack: ExitStack, name: str, open_file: Open) -> tuple[IO[bytes], IO[bytes]]:
    """Return the file as it is on disk, and uncompressed."""
    raw = open_file(stack)
    if name.lower().endswith(".gz"):
        return raw, cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
    return raw, raw


def read_header(name: str, open_file: Open) -> tuple[str, ...]:
    """Return the names of the columns; OmopEmbError when the first line does not name any."""
    with ExitStack() as stack, reading_errors(name):
        line = opened(stack, name, open_file)[1].readline(LONGEST_HEADER)
    if not line.strip():
        raise OmopEmbError(f"{name} is empty, or its first line is", _ADVICE)
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise OmopEmbError(f"{name}, line 1: not UTF-8: byte 0x{line[error.start]:02x}", _ADVICE) from error
    columns = tuple(column.strip().lower() for column in text.split("\t"))
    if len(columns) == 1:
        raise OmopEmbError(f"{name} is not separated by tabs: its first line is {text[:100]!r}", _ADVICE)
    repeated = {column for column in columns if columns.count(column) > 1}
    if repeated:
        raise OmopEmbError(f"the header of {name} names columns twice: {', '.join(sorted(repeated))}", _ADVICE)
    return columns


def refuse_marks(name: str, first_line: int, block: bytes) -> None:
    """Raise OmopEmbError for what COPY, told to see no quotes, still takes for a quote or for the end of the file."""
    for mark, what in ((b"\b", "a backspace character"), (b"\n\\.\n", "a backslash and a dot alone")):
        at = (b"\n" + block).find(mark)
        if at >= 0:
            line = first_line + block.count(b"\n", 0, at)
            raise OmopEmbError(
                f"{name}, line {line}: {what}, which no vocabulary has", f"Nothing was changed. {_ADVICE}"
            )


@contextmanager
def reading_errors(name: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into an OmopEmbError about it."""
    try:
        yield
    except OSError as error:
        raise OmopEmbError(
            f"cannot read {name}: {error.strerror or error}", "Nothing was changed. See that it is whole and readable."
        ) from error
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise OmopEmbError(
            f"{name} was cut off or damaged: {error}", "Nothing was changed. Download it again."
        ) from error
    except (RuntimeError, NotImplementedError) as error:
        raise OmopEmbError(f"cannot unpack {name}: {error}", "Unpack it and name the directory.") from error
