"""Audit image-classifier checkpoints for backdoors, and unlearn what is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditor.images import CleanImages
    from auditor.library import audit, sanitize, scan
    from auditor.suspect import Suspect

__version__ = "0.1.0"
__all__ = ["CleanImages", "Suspect", "audit", "sanitize", "scan"]

_HOMES = {
    "scan": "auditor.library", "audit": "auditor.library", "sanitize": "auditor.library",
    "Suspect": "auditor.suspect", "CleanImages": "auditor.images",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import auditor` stays fast and loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
