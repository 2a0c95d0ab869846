"""Indexing from outside the database: jobs are leased, embedded outside any transaction, and stored."""

from omop_emb.indexing.run import CONCURRENCY, LEASE_SECONDS, IndexResult, index
from omop_emb.indexing.worker import Worker, WorkerOptions

__all__ = ["CONCURRENCY", "LEASE_SECONDS", "IndexResult", "Worker", "WorkerOptions", "index"]
