"""Which methods `auto` tries, by triggers and images."""

from __future__ import annotations

import planted
import pytest

from auditor.errors import UsageError
from auditor.portfolio import CHANCES, GENTLE, plan
from auditor.triggers import Trigger
from auditor.unlearn import METHODS
from auditor.unlearn.baselines import BASELINES

PATCH = planted.corner_trigger()
SMOOTH = Trigger(family="additive", target_class=0, parameters={"delta": planted.corner_trigger().parameters["pattern"]})


@pytest.mark.parametrize(("triggers", "images", "expected"), [
    ([PATCH], 70, ["refit_ascent", "refit_ascent", "refit_ascent", "prune", "sau"]),
    ([SMOOTH], 70, ["refit_ascent", "refit_ascent", "refit_ascent", "sau"]),  # pruning would keep accuracy, and the backdoor
    ([PATCH, SMOOTH], 70, ["refit_ascent", "refit_ascent", "refit_ascent", "sau"]),
    ([PATCH], 10, ["refit_ascent", "refit_ascent", "refit_ascent", "sau"]),  # too few images to judge pruning rounds on
])  # fmt: skip
def test_the_order_goes_by_triggers_and_images(triggers: list[Trigger], images: int, expected: list[str]) -> None:
    found = plan("auto", {}, triggers, images)

    assert [method.name for method in found] == expected
    assert found[0] == found[1] == METHODS["refit_ascent"]
    assert found[2].weight == pytest.approx(GENTLE * found[0].weight)  # type: ignore[attr-defined]


def test_a_named_method_has_several_chances_and_a_baseline_one() -> None:
    assert plan("edit", {}, [PATCH], 70) == [METHODS["edit"]] * CHANCES
    assert plan("ft", {}, [PATCH], 70) == [BASELINES["ft"]]
    assert [m.weight for m in plan("refit", {"weight": "2"}, [PATCH], 70)] == [2.0] * CHANCES  # type: ignore[attr-defined]


def test_wrong_names_and_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="no method"):
        plan("wish", {}, [PATCH], 70)
    with pytest.raises(UsageError, match="auto"):
        plan("auto", {"weight": 1}, [PATCH], 70)
