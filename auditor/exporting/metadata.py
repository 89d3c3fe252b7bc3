"""Provenance that goes into exported files."""

from __future__ import annotations

from collections.abc import Mapping

from auditor.errors import printable

MAX_CHARACTERS = 1000


def clean_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """One line each, no control characters, capped: values may come from the checkpoint."""
    return {printable(k, MAX_CHARACTERS): printable(v, MAX_CHARACTERS) for k, v in metadata.items()}
