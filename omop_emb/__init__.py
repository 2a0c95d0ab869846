"""Semantic search over OMOP concepts inside PostgreSQL."""

__version__ = "0.1.0"
