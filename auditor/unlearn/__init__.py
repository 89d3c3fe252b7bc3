"""Unlearning methods, by name. Adding one is one file and one line here."""

from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.edit import Edit
from auditor.unlearn.method import Method
from auditor.unlearn.prune import Prune
from auditor.unlearn.refit import Refit

METHODS: dict[str, Method] = {"refit": Refit(), "edit": Edit(), "prune": Prune(), **BASELINES}
