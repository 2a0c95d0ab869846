"""Indexing from outside the database: jobs are leased, embedded outside any transaction, and stored."""

from omop_emb.indexing.run import CONCURRENCY, IndexResult, index

__all__ = ["CONCURRENCY", "IndexResult", "index"]
