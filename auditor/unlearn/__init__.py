"""Unlearning methods, by name. Adding one is one file and one line here."""

from auditor.unlearn.ascent import Ascent
from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.edit import Edit
from auditor.unlearn.method import Method
from auditor.unlearn.prune import Prune
from auditor.unlearn.refit import Refit
from auditor.unlearn.sau import Sau

METHODS: dict[str, Method] = {
    "refit": Refit(), "prune": Prune(), "edit": Edit(), "sau": Sau(), "ascent": Ascent(), **BASELINES,
}  # fmt: skip
