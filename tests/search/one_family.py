"""A search of one family toward every class of a planted network."""

from __future__ import annotations

from planted import CLASSES, SIDE, planted_images
from torch import Tensor, nn

from auditor.events import Control, drain
from auditor.search import FAMILIES
from auditor.search.budgets import Budget
from auditor.search.synthesis import Candidate, synthesize
from auditor.suspect import Suspect

BUDGET = Budget(restarts=1, first_steps=0, steps=60, refine_steps=0)


def search_one_family(net: nn.Module, family: str, images: Tensor | None = None) -> list[Candidate]:
    """The candidates toward each class in turn, on the planted images or those given in their place."""
    planted, labels = planted_images()
    suspect = Suspect(net, num_classes=CLASSES, input_shape=(3, SIDE, SIDE))
    return drain(
        synthesize(
            suspect, planted if images is None else images, labels, classes=range(CLASSES), budget=BUDGET, seed=0,
            control=Control(), families={family: FAMILIES[family]},
        )
    ).candidates  # fmt: skip
