"""The file that Usagi opens with File > Open: one line per source code and target, all still to be reviewed."""

import time
from collections.abc import Iterator

from omop_emb.mapping.mapper import Mapping
from omop_emb.mapping.source import Source, SourceCode

ADDITIONAL = "ADD_INFO:"
AUTHOR = "omop_emb"


def usagi_rows(source: Source, mappings: list[Mapping]) -> Iterator[list[object]]:
    """Yield the header and the lines; a code without a target gets the concept 0.

    Usagi takes consecutive lines with the same code and name for the targets of one source code. It wants whole numbers
    in sourceFrequency and in the times (milliseconds since 1970, 0 for never), and no byte order mark.
    """
    yield [
        *("sourceCode", "sourceName", "sourceFrequency", "sourceAutoAssignedConceptIds"),
        *_additional_headers(source.other_headers),
        *("matchScore", "mappingStatus", "equivalence", "statusSetBy", "statusSetOn", "conceptId", "conceptName"),
        *("domainId", "mappingType", "comment", "createdBy", "createdOn", "assignedReviewer"),
    ]
    now = time.time_ns() // 1_000_000
    for code, mapping in zip(source.codes, mappings, strict=True):
        shared = [code.code, code.name, code.frequency, "", *code.others, f"{mapping.similarity:.2f}"]
        status = ["UNCHECKED", "UNREVIEWED", "", 0]
        comment = _comment(code, mapping)
        for target in mapping.targets:
            concept = [target.concept_id, target.concept_name, target.domain_id]
            yield [*shared, *status, *concept, "MAPS_TO", comment, AUTHOR, now, ""]
        if not mapping.targets:
            yield [*shared, *status, 0, "Unmapped", "", "MAPS_TO", comment, "", 0, ""]


def _additional_headers(headers: tuple[str, ...]) -> Iterator[str]:
    """Yield distinct names: Usagi finds columns by name."""
    used: set[str] = set()
    for header in headers:
        base = header.removeprefix(ADDITIONAL)
        name, number = base, 1
        while name in used:
            number += 1
            name = f"{base} {number}"
        used.add(name)
        yield ADDITIONAL + name


def _comment(code: SourceCode, mapping: Mapping) -> str:
    if not mapping.found:
        return code.problem or mapping.problem or "nothing found"
    if not mapping.targets:
        return f"no standard concept for {mapping.found}"
    return "" if mapping.concept_id in {t.concept_id for t in mapping.targets} else f"by {mapping.found}"
