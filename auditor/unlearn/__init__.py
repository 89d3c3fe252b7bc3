"""Unlearning methods, by name. Adding one is one file and one line here."""

from auditor.unlearn.edit import Edit
from auditor.unlearn.method import Method
from auditor.unlearn.prune import Prune

METHODS: dict[str, Method] = {"edit": Edit(), "prune": Prune()}
