"""Unlearning methods, by name. Adding one is one file and one line here."""

from collections.abc import Mapping
from typing import Any

from auditor.errors import UsageError, printable
from auditor.unlearn.ascent import Ascent
from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.edit import Edit
from auditor.unlearn.method import Method
from auditor.unlearn.prune import Prune
from auditor.unlearn.refit import Refit
from auditor.unlearn.refit_ascent import RefitAscent
from auditor.unlearn.sau import Sau
from auditor.unlearn.settings import with_settings

METHODS: dict[str, Method] = {
    "refit_ascent": RefitAscent(), "refit": Refit(), "prune": Prune(), "edit": Edit(), "sau": Sau(), "ascent": Ascent(),
    **BASELINES,
}  # fmt: skip


def configured(method: str, settings: Mapping[str, Any]) -> dict[str, Method]:
    """The methods, the one that is named with these hyper-parameters; values may be text.

    Raises UsageError for a method that is not there, and for settings that do not fit.
    """
    if settings and method == "auto":
        raise UsageError("auto chooses its methods with their own settings.", "Name one method to change its settings.")
    if method not in ("auto", *METHODS):
        raise UsageError(f"There is no method {printable(method, 40)!r}.", f"Methods: auto, {', '.join(METHODS)}.")
    return METHODS if not settings else METHODS | {method: with_settings(METHODS[method], settings)}
