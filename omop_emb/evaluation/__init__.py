"""Retrieval quality on gold queries, per configuration, and what the document and query roles are worth."""

from omop_emb.evaluation.icd10cm import read_icd10cm
from omop_emb.evaluation.pairs import read_pairs
from omop_emb.evaluation.result import Evaluation, GoldPairs, GoldQuery, Options
from omop_emb.evaluation.run import compare, evaluate

__all__ = ["Evaluation", "GoldPairs", "GoldQuery", "Options", "compare", "evaluate", "read_icd10cm", "read_pairs"]
