"""Trigger families, by name. Adding one is one file and one line here (and its stamp in triggers.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.search.additive import Additive
from auditor.search.generator import Feature
from auditor.search.lowfreq import LowFrequency
from auditor.search.patch import Patch
from auditor.search.warp import Warp

if TYPE_CHECKING:
    from auditor.adversarial import Family

FAMILIES: dict[str, Family] = {
    "patch": Patch(),
    "additive": Additive(),
    "lowfreq": LowFrequency(),
    "warp": Warp(),
    "feature": Feature(),
}
