"""Attacks, the zoo builder and the tables: they use `auditor` through its public API, like any user."""
