"""The CSV file of source codes that are to be mapped."""

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from omop_emb.errors import OmopEmbError
from omop_emb.textfile import read_utf8

LARGEST_FREQUENCY = 2**31 - 1
# What a header is when only its letters count; the first that is there decides.
CODE_HEADERS = ("sourcecode", "code", "conceptcode")
NAME_HEADERS = ("sourcename", "name", "description", "conceptname", "sourcecodedescription")
FREQUENCY_HEADERS = ("sourcefrequency", "frequency", "count")
_FORMAT = "A source is a CSV file in UTF-8 whose first line names its columns, separated by comma, semicolon or tab."


@dataclass
class SourceCode:
    """A code with its name (white space runs are one space) and how often it occurs, 0 when that is not known.

    ``others`` are the fields of the other columns. ``problem`` says why its line cannot be trusted; it is not searched.
    """

    line: int
    code: str
    name: str
    frequency: int = 0
    others: tuple[str, ...] = ()
    problem: str = ""


@dataclass
class Source:
    """The codes of a file in its order, the headers of ``others``, and notes on lines that are not as they should be.

    ``left_out`` counts the lines that no code could be made of.
    """

    codes: list[SourceCode] = field(default_factory=list)
    other_headers: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True)
class Columns:
    """The headers to use instead of the usual ones."""

    code: str | None = None
    name: str | None = None
    frequency: str | None = None


def read_source(path: Path, columns: Columns = Columns()) -> Source:
    """Read a file of source codes; one bad line does not keep the others out.

    A line with too many or too few fields, or without a name, is kept with a ``problem``; one without a code is left
    out; one that repeats code and name adds its frequency to the first. Notes say so.

    Raises OmopEmbError for a file that cannot be read, is not CSV, or has no column for code or name.
    """
    text = read_utf8(path).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise OmopEmbError(f"{path} is empty", _FORMAT)
    lines = _records(path, text)
    header = [cell.strip() for cell in lines.pop(0)[1]]
    code = _needed(path, header, "code", _columns(header, columns.code, CODE_HEADERS), columns.code)
    name = _needed(path, header, "name", _columns(header, columns.name, NAME_HEADERS), columns.name)
    frequencies = _columns(header, columns.frequency, FREQUENCY_HEADERS)
    frequency = None
    if frequencies or columns.frequency is not None:
        frequency = _needed(path, header, "frequency", frequencies, columns.frequency)
    others = [index for index, cell in enumerate(header) if cell and index not in (code, name, frequency)]
    source = Source(other_headers=tuple(header[index] for index in others))
    seen: dict[tuple[str, str], SourceCode] = {}
    names: dict[str, SourceCode] = {}
    for line, fields in lines:
        problem = ""
        extra = [cell for cell in fields[len(header) :] if cell.strip()]
        if extra or len(fields) < len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
        row = fields + [""] * (len(header) - len(fields))
        said = row[code].strip()
        if not said:
            source.left_out += 1
            source.notes.append(f"line {line}: no code; left out")
            continue
        found = SourceCode(
            line, said, " ".join(row[name].split()), others=tuple(row[index].strip() for index in others)
        )
        if not problem and not found.name:
            problem = "no name"
        if problem:
            found.problem = f"line {line}: {problem}"
            source.notes.append(f"{found.problem}; kept without a concept")
        elif frequency is not None:
            found.frequency, complaint = _frequency(row[frequency].strip())
            if complaint:
                source.notes.append(f"line {line}: {complaint}")
        first = seen.setdefault((found.code, found.name), found)
        if first is not found and not problem and not first.problem:
            first.frequency = min(first.frequency + found.frequency, LARGEST_FREQUENCY)
            source.notes.append(f"line {line}: repeats the code and name of line {first.line}; frequencies added")
            continue
        namesake = names.setdefault(found.code, found)
        if namesake is not found:
            source.notes.append(f"line {line}: the code has another name on line {namesake.line}; both are kept")
        source.codes.append(found)
    if not source.codes:
        raise OmopEmbError(f"{path} holds no codes", _FORMAT)
    return source


def _records(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return the fields of each record that is not blank, and the line on which it starts."""
    header = text.strip("\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=lambda mark: re.sub(r'"[^"]*"', "", header).count(mark))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records = []
    line = 1
    try:
        for fields in reader:
            started, line = line, reader.line_num + 1
            if any(cell.strip() for cell in fields):
                records.append((started, fields))
    except csv.Error as error:
        raise OmopEmbError(
            f"{path}, line {line}: not CSV: {error}",
            "A field that starts with a double quote must end with one, and a quote within it be written twice.",
        ) from error
    return records


def _columns(header: list[str], wanted: str | None, usual: tuple[str, ...]) -> list[int]:
    """Return where the column is: the one of that header, or of the first usual one that is there."""
    if wanted is not None:
        return [index for index, cell in enumerate(header) if cell == wanted.strip()]
    letters = [re.sub(r"[\W_]+", "", cell).casefold() for cell in header]
    name = next((name for name in usual if name in letters), None)
    return [index for index, cell in enumerate(letters) if cell == name]


def _needed(path: Path, header: list[str], what: str, found: list[int], wanted: str | None) -> int:
    if len(found) == 1:
        return found[0]
    said = f"{len(found)} columns" if found else "no column"
    called = f"for the {what}" if wanted is None else repr(wanted)
    raise OmopEmbError(
        f"the header of {path} has {said} {called}: {', '.join(map(repr, header))}", f"Name one with --{what}-column."
    )


def _frequency(said: str) -> tuple[int, str]:
    if not said:
        return 0, ""
    if not re.fullmatch(r"[0-9]+(\.0*)?", said):
        return 0, f"frequency {said[:40]!r} is not a whole number; taken as 0"
    digits = said.split(".", maxsplit=1)[0].lstrip("0")
    if len(digits) > 10 or int(digits or "0") > LARGEST_FREQUENCY:
        return LARGEST_FREQUENCY, f"frequency {said[:40]} is too large; taken as {LARGEST_FREQUENCY}"
    return int(digits or "0"), ""
