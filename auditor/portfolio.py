"""What `auto` tries on a model, in which order.

By the kind of its triggers and the number of images, cheap before dear. Measured on calibration models
(benchmarks/RESULTS.md, "remove"): `refit` leaves the least of a backdoor for its cost in accuracy, with a smaller
weight less of both, and `ascent` from where it ended takes away up to half of what is left for half a point. `prune` and
`sau`, which adds shared adversarial examples to the synthesized triggers, come near it where the trigger is a patch;
where it is not, they keep accuracy and leave up to three times as much of the backdoor, which no check on synthesized
triggers sees. So there `sau` comes last: only where what comes before was refused, which on networks of many classes
costs accuracy, and where the choice is between that and the backdoor as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from auditor.triggers import Trigger
from auditor.unlearn import configured
from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.method import Method
from auditor.unlearn.refit import Refit

CHANCES = 3
GENTLE = 0.3  # of the stamped images' weight
ENOUGH_TO_PRUNE = 30  # it judges its rounds on a tenth of the images


def plan(method: str, settings: Mapping[str, Any], triggers: Sequence[Trigger], images: int) -> list[Method]:
    """The methods to try in turn; what singled a model out again helps a method that comes twice.

    Raises UsageError for a method that is not there, or when the settings do not fit it.
    """
    known = configured(method, settings)
    if method in BASELINES:
        return [known[method]]  # it sees no triggers, so that a second time it would do the same
    if method != "auto":
        return [known[method]] * CHANCES
    can_prune = images >= ENOUGH_TO_PRUNE and all(trigger.family == "patch" for trigger in triggers)
    pruned = [known["prune"]] if can_prune else []
    return [known["refit_ascent"], known["refit_ascent"], gentle(known["refit_ascent"]), *pruned, known["sau"]]


def gentle(refit: Method) -> Method:
    """A `refit` that gives clean images more weight beside stamped ones."""
    assert isinstance(refit, Refit)
    return replace(refit, weight=GENTLE * refit.weight)
