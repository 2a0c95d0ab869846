"""From a file of source codes to a file of mappings."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from omop_emb.files import writing_errors
from omop_emb.mapping.mapper import NOTHING, map_names
from omop_emb.mapping.source import Columns, read_source
from omop_emb.mapping.source_to_concept_map import fit, source_to_concept_map_rows
from omop_emb.mapping.usagi import usagi_rows

OUTPUTS = ("usagi", "source-to-concept-map")


@dataclass(frozen=True)
class Summary:
    """How many source codes were mapped, were found without a standard concept, and were not found; lines left out.

    ``notes`` are about lines of the source, each one sentence; ``warnings`` are those of the database about all of it.
    """

    codes: int
    rows: int
    mapped: int
    without_standard: int
    nothing_found: int
    left_out: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def map_file(
    connection: psycopg.Connection,
    path: Path,
    file: BinaryIO,
    *,
    source_vocabulary_id: str | None = None,
    columns: Columns = Columns(),  # noqa: B008
    arguments: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Map the codes of ``path`` and write them to ``file``, all at once at the end.

    They are for source_to_concept_map if ``source_vocabulary_id`` is given, else for Usagi. ``arguments`` are those of
    ``omop_emb_map``.

    Raises OmopEmbError for a file that is not what it should be, and for what the database refuses.
    """
    source = read_source(path, columns)
    if source_vocabulary_id is not None:
        fit(source)
    names = [code.name for code in source.codes if not code.problem]
    found, warnings = map_names(connection, names, arguments or {}, progress)
    mappings = [NOTHING if code.problem else found[code.name] for code in source.codes]
    for code, mapping in zip(source.codes, mappings, strict=True):
        if mapping.problem:
            source.notes.append(f"line {code.line}: {mapping.problem}; kept without a concept")
    if source_vocabulary_id is None:
        rows = list(usagi_rows(source, mappings))
    else:
        rows = list(source_to_concept_map_rows(source, mappings, source_vocabulary_id))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_on_lines(cell) for cell in row] for row in rows)
    with writing_errors(getattr(file, "name", "standard output")):
        file.write(text.getvalue().encode())
        file.flush()
    mapped = sum(bool(mapping.targets) for mapping in mappings)
    nothing = sum(not mapping.found for mapping in mappings)
    return Summary(
        codes=len(mappings),
        rows=len(rows) - 1,
        mapped=mapped,
        without_standard=len(mappings) - mapped - nothing,
        nothing_found=nothing,
        left_out=source.left_out,
        notes=tuple(source.notes),
        warnings=tuple(warnings),
    )


def _on_lines(cell: object) -> object:
    """Return text without carriage returns: alone they would not be quoted, and COPY refuses them."""
    return cell.replace("\r", "\n") if isinstance(cell, str) else cell
