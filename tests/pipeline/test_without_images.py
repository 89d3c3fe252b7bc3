"""Without images the planted target is ranked first, and nothing is ever called a backdoor or clean."""

from __future__ import annotations

import planted
import pytest
import torch
from torch import Tensor, nn

from auditor.domain import Verdict
from auditor.events import Control, drain
from auditor.pipeline import without_images
from auditor.pipeline.session import Session, new_result
from auditor.pipeline.without_images import detect_without_images
from auditor.request import Request
from auditor.suspect import Suspect


def scanned(suspect: Suspect, control: Control | None = None, targets: list[int] | None = None) -> Session:
    request = Request(model="planted", targets=targets)
    session = Session(request=request, control=control or Control(), result=new_result(request, "cpu"), suspect=suspect)
    drain(detect_without_images(session))
    return session


def verdict(suspect: Suspect, control: Control | None = None) -> Verdict:
    session = scanned(suspect, control)
    found = session.result.verdict
    assert found is not None and found.label == "inconclusive" and found.target_classes == []
    assert without_images.UNTESTED in session.result.limits
    return found


def test_the_planted_target_stands_out_and_its_twin_does_not() -> None:
    backdoored, honest = verdict(planted.planted()), verdict(planted.planted(0.0))
    assert any(f"It is class {planted.TARGET} that stands out most" in reason for reason in backdoored.reasons)
    assert backdoored.score is not None and honest.score is not None and backdoored.score > honest.score
    costs = {e.target_class: e.cost for e in backdoored.per_class if e.family == "patch" and e.cost is not None}
    assert min(costs, key=lambda k: costs[k]) == planted.TARGET


def test_the_largest_margin_is_a_second_opinion() -> None:
    assert any(f"largest margin that an input can reach is that of class {planted.TARGET}" in r for r in verdict(planted.planted()).reasons)
    assert not any("largest margin" in reason for reason in verdict(planted.planted(0.0)).reasons)


def test_the_score_says_what_bank_it_rests_on() -> None:
    found = verdict(planted.planted())
    assert found.calibration is not None and found.calibration["images"] == 0
    assert len(found.calibration["last_layer_row_scores"]) == planted.CLASSES


def test_where_a_search_would_take_long_the_rows_are_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without_images, "MOST_PIXELS", 1)
    suspect = planted.planted()
    found = verdict(suspect)
    assert found.score is None and "last layer the row of class" in found.reasons[1]
    assert suspect.meter.forward_images == 0


class Headless(nn.Module):
    """Six answers, and no layer that has a row for each."""

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = images.flatten(1)[:, : planted.CLASSES]
        return answers


def test_without_a_classifying_layer_nothing_is_ranked() -> None:
    found = verdict(Suspect(Headless(), num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE)))
    assert found.score is None and found.calibration is None and found.reasons[1].startswith("Nothing is ranked: no layer")


@pytest.mark.parametrize(("classes", "weight", "said"), [(3, 0.0, "of 3 classes"), (6, float("nan"), "not finite"), (6, float("inf"), "not finite")])
def test_too_few_classes_and_broken_weights_have_no_score(classes: int, weight: float, said: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    with torch.no_grad():
        net.get_parameter("4.weight")[0] = weight
    found = verdict(Suspect(net, num_classes=classes, input_shape=(3, planted.SIDE, planted.SIDE)))
    assert found.score is None and found.calibration is None and found.reasons[1].startswith("Nothing is ranked") and said in found.reasons[1]


def test_with_targets_one_of_them_is_ranked_first() -> None:
    other = (planted.TARGET + 1) % planted.CLASSES
    assert any(f"It is class {other} that stands out most" in reason for reason in scanned(planted.planted(), targets=[other]).result.verdict.reasons)  # type: ignore[union-attr]


def test_a_stop_before_the_search_ends_leaves_no_rank() -> None:
    control = Control()
    control.stop()
    found = verdict(planted.planted(), control)
    assert found.score is None and "not get far enough" in found.reasons[1]


def test_time_that_runs_out_is_said() -> None:
    assert any("time budget" in limit for limit in scanned(planted.planted(), Control(time_budget_s=0)).result.limits)


def test_the_same_seed_ranks_the_same() -> None:
    assert verdict(planted.planted()) == verdict(planted.planted())
