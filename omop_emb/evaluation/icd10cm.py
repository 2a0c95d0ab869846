"""The built-in gold set: inclusion terms of ICD-10-CM as queries, the official names of the codes as documents.

Both were written by the makers of the classification: an inclusion term is another wording of, or an example for, what
its code stands for.
"""

import importlib
import random
import re
import warnings
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.result import GoldQuery, Key, Options

PACKAGE = "simple-icd-10-cm"

_REFERENCE = re.compile(r"(Any condition|Conditions) (classifiable|in|listed)\b")


@dataclass(frozen=True)
class BuiltinSet:
    """Queries, and the documents to rank: per code its official name and its chapter."""

    source: str
    queries: tuple[GoldQuery, ...]
    names: dict[Key, str]
    chapters: dict[Key, str]


def read_icd10cm(options: Options) -> BuiltinSet:
    """Draw ``options.queries`` inclusion terms, and as documents their codes and ``options.concepts`` other codes.

    Codes that only add a seventh character have no inclusion terms and names that differ in "initial encounter" or the
    like: they are left out. Codes of the same official name are one document, under the first of them. Inclusion terms
    that equal the official name, letter case aside, or that only refer to other codes ("Conditions in I00-I99") are
    left out.

    Raises OmopEmbError when package simple-icd-10-cm is missing.
    """
    icd = _classification()
    codes = [c for c in icd.get_all_codes() if not icd.is_chapter_or_block(c) and not icd.is_extended_subcategory(c)]
    documents: dict[str, str] = {}
    wanted: dict[str, dict[str, None]] = {}
    for code in codes:
        name = icd.get_description(code)
        document = documents.setdefault(name.casefold(), code)
        for term in icd.get_inclusion_term(code):
            if term.strip() and term.casefold() != name.casefold() and not _REFERENCE.match(term):
                wanted.setdefault(term, {})[document] = None
    draw = random.Random(options.seed)  # noqa: S311
    terms = list(wanted)
    if options.queries is not None and options.queries < len(terms):
        terms = sorted(draw.sample(terms, options.queries))
    gold = {code for term in terms for code in wanted[term]}
    others = [code for code in documents.values() if code not in gold]
    pool = sorted(gold.union(draw.sample(others, min(options.concepts, len(others)))))
    return BuiltinSet(
        source=f"ICD-10-CM inclusion terms ({PACKAGE} {metadata.version(PACKAGE)})",
        queries=tuple(GoldQuery(term, tuple(wanted[term])) for term in terms),
        names={code: icd.get_description(code) for code in pool},
        chapters={code: _chapter(icd, code) for code in pool},
    )


def _classification() -> ModuleType:
    try:
        with warnings.catch_warnings():
            # It reads its data, when imported, in a way that Python 3.11 calls deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("simple_icd_10_cm")
    except ImportError as error:
        raise OmopEmbError(
            f"ICD-10-CM is not installed (package {PACKAGE})", "pip install 'omop-emb-postgres[evaluate]'"
        ) from error


def _chapter(icd: ModuleType, code: str) -> str:
    # "Neoplasms (C00-D49)" as "C00-D49 Neoplasms", so that chapters sort and stay apart when they are cut.
    title, _, codes = icd.get_description(icd.get_ancestors(code)[-1]).rpartition(" (")
    return f"{codes.rstrip(')')} {title}"
