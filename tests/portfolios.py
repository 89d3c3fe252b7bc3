"""Makes `auto` try the methods that a test names."""

from __future__ import annotations

from typing import Any

import pytest

from auditor import remedy
from auditor.portfolio import plan
from auditor.unlearn import METHODS


def try_only(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let `auto` try these, each twice; a method asked for by name is as ever."""

    def chosen(method: str, *rest: Any) -> list[Any]:
        return [METHODS[name] for name in names for _ in range(2)] if method == "auto" else plan(method, *rest)

    patch.setattr(remedy, "plan", chosen)
