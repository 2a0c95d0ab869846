"""Rows of the table source_to_concept_map of the CDM 5.4."""

from collections.abc import Iterator

from omop_emb.mapping.mapper import Mapping
from omop_emb.mapping.source import Source

LONGEST_CODE = 50
LONGEST_DESCRIPTION = 255
LONGEST_VOCABULARY = 20
COLUMNS = (
    *("source_code", "source_concept_id", "source_vocabulary_id", "source_code_description", "target_concept_id"),
    *("target_vocabulary_id", "valid_start_date", "valid_end_date", "invalid_reason"),
)


def fit(source: Source) -> None:
    """Leave out the codes that are too long for the table, and cut names that are, with a note on each."""
    fitting = []
    for code in source.codes:
        if len(code.code) > LONGEST_CODE:
            source.left_out += 1
            source.notes.append(
                f"line {code.line}: the code has {len(code.code)} characters, the table allows {LONGEST_CODE}; left out"
            )
            continue
        if len(code.name) > LONGEST_DESCRIPTION:
            source.notes.append(
                f"line {code.line}: the name has {len(code.name)} characters, source_code_description holds"
                f" {LONGEST_DESCRIPTION}; its end is cut off there"
            )
        fitting.append(code)
    source.codes = fitting


def source_to_concept_map_rows(source: Source, mappings: list[Mapping], vocabulary_id: str) -> Iterator[list[object]]:
    """Yield the header and one row per code and target.

    A code without a target gets the concept 0 of the vocabulary None, as the CDM says. A code that has several names
    has the targets of all of them, each once.
    """
    yield list(COLUMNS)
    mapped = {code.code for code, mapping in zip(source.codes, mappings, strict=True) if mapping.targets}
    written: set[tuple[str, int]] = set()
    for code, mapping in zip(source.codes, mappings, strict=True):
        targets = [(target.concept_id, target.vocabulary_id) for target in mapping.targets]
        if not targets and code.code not in mapped:
            targets = [(0, "None")]
        for concept_id, target_vocabulary_id in targets:
            if (code.code, concept_id) not in written:
                written.add((code.code, concept_id))
                yield [
                    *(code.code, 0, vocabulary_id, code.name[:LONGEST_DESCRIPTION], concept_id, target_vocabulary_id),
                    *("1970-01-01", "2099-12-31", ""),
                ]
