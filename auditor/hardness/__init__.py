"""How hard it is to wake an unlearned backdoor: checks that go deeper than whether the trigger still works.

A sanitized model can pass every check while the backdoor sleeps in its weights (Zhu et al., Breaking
the False Sense of Security in Backdoor Defense through Re-Activation Attack, NeurIPS 2024, arXiv
2405.16134). Two probes ask whether it does: a few steps of fine-tuning on triggered images
(`relearning`), and a small perturbation beside the trigger (`reactivation`). Each is run toward the
class that was the target and, as the honest reference, toward classes that were none.
"""

from auditor.hardness.probing import probe
from auditor.hardness.subject import Subject

__all__ = ["Subject", "probe"]
