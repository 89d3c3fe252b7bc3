"""Activation-guided editing: fitted scales by hand, both ways to choose what to forget, and how its repair is called."""

from __future__ import annotations

import planted
import pytest
import torch
import unlearn_tasks as tasks

from auditor.events import drain
from auditor.unlearn.edit import Edit
from auditor.unlearn.repair import Repair
from auditor.unlearn.solving import new_weights, scaled_weights

FRESH, FRESH_LABELS = planted.planted_images(60, seed=11)


def test_scales_by_hand() -> None:
    """Inputs that never meet, squares 2 and 1, weights (1, 2) and (3, 0): s = (x'y w + r) / (x'x w'w + r)."""
    gram = torch.diag(torch.tensor([2.0, 1.0])).double()[None]
    old = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]).double()
    wanted = gram @ torch.tensor([[[0.5, 1.0], [3.0, 7.0]]]).double()  # the first input's weights halved, the second's turned

    new = scaled_weights(gram, wanted, old, 1e-9)
    assert torch.allclose(new, torch.tensor([[[0.5, 1.0], [3.0, 0.0]]]).double(), atol=1e-6)
    assert torch.allclose(new_weights(gram, wanted, old, 1e-9)[0, 1], torch.tensor([3.0, 7.0]).double(), atol=1e-6)

    ridge = 1.0 * (2 * 5 + 1 * 9) / 2
    assert torch.allclose(scaled_weights(gram, wanted, old, 1.0)[0, 0], (5 + ridge) / (10 + ridge) * old[0, 0])


def test_inputs_that_go_together_share_what_is_to_be_lost() -> None:
    """Both inputs are always 1 and the output must fall from 2 to 1: each weight is halved, not one of them lost."""
    gram, old = torch.ones(1, 2, 2).double(), torch.ones(1, 2, 1).double()
    new = scaled_weights(gram, torch.ones(1, 2, 1).double(), old, 1e-6)
    assert torch.allclose(new, torch.full((1, 2, 1), 0.5).double(), atol=1e-4)


def test_an_input_that_is_never_seen_or_has_no_weight_keeps_what_it_has() -> None:
    gram, old = torch.zeros(1, 2, 2).double(), torch.tensor([[[0.0], [2.0]]]).double()
    gram[0, 0, 0] = 1.0
    assert torch.equal(scaled_weights(gram, torch.zeros(1, 2, 1).double(), old, 0.1), old)


@pytest.mark.parametrize("forget", ["triggered", "target"])
def test_an_edit_of_the_planted_network_spares_the_honest_twin(forget: str) -> None:
    trigger, method = planted.corner_trigger(), Edit(forget=forget)  # type: ignore[arg-type]
    edited = drain(method.run(tasks.make_task()))
    twin = planted.planted(0.0)
    spared = drain(method.run(tasks.make_task(twin)))

    assert (tasks.flips(edited, trigger, FRESH, FRESH_LABELS) <= 0.1) is (forget == "triggered")
    assert tasks.target_margin(edited, trigger, FRESH, FRESH_LABELS) < tasks.target_margin(planted.planted(), trigger, FRESH, FRESH_LABELS)
    assert tasks.accuracy(edited, FRESH, FRESH_LABELS) >= 0.95
    assert tasks.accuracy(spared, FRESH, FRESH_LABELS) == tasks.accuracy(twin, FRESH, FRESH_LABELS)


def test_only_scales_change() -> None:
    """Every weight that leaves one place of one channel is scaled alike, and biases are left."""
    suspect = planted.planted()
    before, after = suspect.state(), drain(Edit().run(tasks.make_task(suspect))).state()

    for name, old in before.items():
        if not name.endswith("weight"):
            assert torch.equal(after[name], old)
            continue
        old, new = old.flatten(1), after[name].flatten(1)
        largest = old.abs().argmax(0)
        columns = torch.arange(old.shape[1])
        scale = torch.where(old[largest, columns] == 0, torch.ones(()), new[largest, columns] / old[largest, columns])
        assert torch.allclose(new, scale * old, atol=1e-4), name


@pytest.mark.parametrize(("forget", "asked"), [("triggered", 0.0), ("target", 0.25)])
def test_repair_goes_as_far_back_as_each_way_to_forget_allows(forget: str, asked: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fitted edit may flip no more for it; that of a target class what is said to be enough."""
    called: list[float] = []
    monkeypatch.setattr(Repair, "is_needed", lambda _: not called)
    monkeypatch.setattr(Repair, "weaken", lambda _, enough, __: called.append(enough))

    drain(Edit(forget=forget, enough=0.25).run(tasks.make_task()))  # type: ignore[arg-type]

    assert called == [asked]


@pytest.mark.parametrize("refresh", [False, True])
def test_statistics_are_taken_anew_where_asked_for(refresh: bool) -> None:
    task = tasks.make_task(planted.planted(batch_norm=True))
    model = drain(Edit(refresh_statistics=refresh).run(task))
    assert torch.equal(model.state()["norm.running_mean"], task.suspect.state()["norm.running_mean"]) is not refresh
