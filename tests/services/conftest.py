"""Databases for the tests of services."""

from tests.harness.databases import databases, own_postgres, postgres_server

__all__ = ["databases", "own_postgres", "postgres_server"]
