"""Gold pairs from a CSV file: a query and the concept that it should find."""

import csv
import io
import re
from pathlib import Path

from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.result import GoldPairs, GoldQuery
from omop_emb.server.embedding import MAX_CHARACTERS
from omop_emb.textfile import read_utf8

COLUMNS = ("query", "concept_id")
LARGEST_ID = 2**31 - 1
_FORMAT = "A CSV file in UTF-8 has a first line with the columns query and concept_id, separated by comma or tab."


def read_pairs(path: Path) -> GoldPairs:
    """Read the pairs of a CSV file; a query on several lines is found with any of their concepts.

    Lines that repeat a pair are counted and left out, other columns ignored. Texts are taken verbatim.

    Raises OmopEmbError for a file that cannot be read and for the first line that is not what it should be.
    """
    text = read_utf8(path)
    if not text.strip():
        raise OmopEmbError(f"{path} is empty", _FORMAT)
    header = text.strip("\r\n").split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",", strict=True)
    wanted: dict[str, dict[int, None]] = {}
    merged = 0
    columns: list[str] = []
    line = 1
    try:
        for row in reader:
            started, line = line, reader.line_num + 1
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if not columns:
                columns = _columns(path, row)
                continue
            query, concept_id = _pair(f"{path}, line {started}", columns, row)
            ids = wanted.setdefault(query, {})
            merged += concept_id in ids
            ids[concept_id] = None
    except csv.Error as error:
        raise OmopEmbError(f"{path}, line {line}: not CSV: {error}", _FORMAT) from error
    if not wanted:
        raise OmopEmbError(f"{path} holds no pairs: nothing follows its header", _FORMAT)
    return GoldPairs(str(path), tuple(GoldQuery(query, tuple(ids)) for query, ids in wanted.items()), merged)


def _columns(path: Path, row: list[str]) -> list[str]:
    columns = [cell.strip().casefold() for cell in row]
    for name in COLUMNS:
        if (times := columns.count(name)) != 1:
            said = f"{times} columns" if times else "no column"
            raise OmopEmbError(f"the header of {path} has {said} {name!r}: {', '.join(map(repr, row))}", _FORMAT)
    return columns


def _pair(where: str, columns: list[str], row: list[str]) -> tuple[str, int]:
    if len(row) != len(columns):
        raise OmopEmbError(
            f"{where}: {len(row)} fields where the header has {len(columns)}",
            "A query that holds the separator must be in double quotes.",
        )
    query, said = (row[columns.index(name)] for name in COLUMNS)
    if not query.strip():
        raise OmopEmbError(f"{where}: the query is blank")
    if len(query) > MAX_CHARACTERS:
        raise OmopEmbError(f"{where}: the query has {len(query)} characters, the limit is {MAX_CHARACTERS}")
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", said):
        raise OmopEmbError(f"{where}: concept_id {said!r} is not an integer")
    if len(said.strip()) > 11 or abs(int(said)) > LARGEST_ID:
        raise OmopEmbError(
            f"{where}: concept_id {said.strip()[:40]} does not fit a 32-bit integer, as the CDM wants it"
        )
    return query, int(said)
