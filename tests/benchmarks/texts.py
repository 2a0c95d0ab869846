"""Real names of concepts and real texts that people search for them with."""

import csv
import gzip
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from omop_emb.evaluation.icd10cm import BuiltinSet, read_icd10cm
from omop_emb.evaluation.result import Options

PUBLIC_VOCABULARY = Path(__file__).resolve().parents[3] / "shared/data/public_vocabulary"
LONGEST_NAME = 255


def names(count: int) -> list[str]:
    """Return so many different names: real ones, and when there are no more, halves of two put together."""
    real = list(dict.fromkeys(_real_names()))
    random.Random(0).shuffle(real)
    return list(itertools.islice(_different(itertools.chain(real, _spliced(real))), count))


def queries() -> list[str]:
    """Return thousands of different texts that mean concepts but are not their names, in random order."""
    if PUBLIC_VOCABULARY.is_dir():
        found = [row["query"] for row in gold_rows()]
    else:
        found = [query.text for query in _icd10cm().queries]
    found = list(dict.fromkeys(found))
    random.Random(1).shuffle(found)
    return found


def concept_lines() -> Iterator[str]:
    """Yield the concepts of the public vocabulary as COPY reads them, without the header."""
    with gzip.open(PUBLIC_VOCABULARY / "CONCEPT.csv.gz", "rt", encoding="utf-8") as lines:
        next(lines)
        yield from lines


def gold_rows() -> list[dict[str, str]]:
    """Return the gold pairs of the public vocabulary: pair_source, query and concept_id."""
    with gzip.open(PUBLIC_VOCABULARY / "gold_pairs.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _real_names() -> Iterator[str]:
    if PUBLIC_VOCABULARY.is_dir():
        return (line.split("\t")[1] for line in concept_lines())
    return iter(_icd10cm().names.values())


def _icd10cm() -> BuiltinSet:
    return read_icd10cm(Options(queries=None, concepts=10**6))


def _spliced(real: list[str]) -> Iterator[str]:
    draw = random.Random(2)
    while True:
        first, second = (name.split() for name in draw.sample(real, 2))
        name = " ".join(first[: (len(first) + 1) // 2] + second[len(second) // 2 :])
        if len(name) <= LONGEST_NAME:
            yield name


def _different(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text
