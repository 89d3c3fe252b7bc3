"""Charts of unlearning, and the attention shift, from recorded steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import page_reader
import pytest
import report_runs as runs

from auditor.domain import Probe
from auditor.report import evidence, render, unlearning
from auditor.report.evidence import EvidenceError, WatchedImages
from auditor.report.log import UnlearnCurve, UnlearnPoint
from auditor.report.shift import shift_panel


def point(step: int, **more: object) -> UnlearnPoint:
    parts = {"method": "sau", "step": step, "clean_accuracy": 0.9, "proxy_attack_success_rate": 1 / (step + 1)} | more
    return UnlearnPoint(**parts)  # type: ignore[arg-type]


def curve(*points: UnlearnPoint, **more: object) -> UnlearnCurve:
    return UnlearnCurve(method="sau", points=list(points), **more)  # type: ignore[arg-type]


def test_rates_run_from_the_suspect_to_the_last_step() -> None:
    drawn = unlearning.rates_chart(curve(*(point(i) for i in range(5000))), "Sau, attempt 1")
    assert drawn is not None and len(drawn) < 20_000
    assert "clean accuracy 90.0\N{NO-BREAK SPACE}%, trigger works 0.0\N{NO-BREAK SPACE}% at step 4999" in drawn


def test_a_single_step_is_no_curve() -> None:
    assert unlearning.rates_chart(curve(point(1)), "sau") is None


def test_attention_is_drawn_with_its_control_where_it_was_measured() -> None:
    measured = curve(point(0, tar=0.4, tar_random=0.02), point(1, tar=None), point(2, tar=0.03, tar_random=0.02))
    drawn = unlearning.attention_chart(measured)
    assert drawn is not None
    assert "TAR 3.0\N{NO-BREAK SPACE}%, random masks 2.0\N{NO-BREAK SPACE}% at step 2" in drawn
    assert ">40 %<" in drawn  # the axis ends at the largest value, not at 100 %
    assert unlearning.attention_chart(curve(point(0), point(1))) is None


def test_loss_terms_are_drawn_by_name_at_most_four() -> None:
    losses = {"clean": 1.0, "shared_adversarial": 2.0, "c": 0.1, "d": 0.1, "e": 0.1}
    drawn = unlearning.losses_chart(curve(point(1, losses=losses), point(2, losses=losses | {"clean": None})))
    assert drawn is not None
    assert "shared adversarial 2" in drawn and ">e<" not in drawn and ">clean<" not in drawn
    assert unlearning.losses_chart(curve(point(1), point(2))) is None


def test_the_run_is_named_by_attempt() -> None:
    assert unlearning.title_of(curve(point(0), attempt=2, accepted=True), alone=True) == "sau, attempt 2 (kept)"
    assert unlearning.title_of(curve(point(0), run=3), alone=False) == "sau, attempt 1, run 3"


def test_frames_are_brought_to_the_size_of_their_images(tmp_path: Path) -> None:
    watched = WatchedImages(images=np.zeros((1, 4, 4, 3), np.uint8))
    np.savez(tmp_path / "f.npz", picture=np.array([[[0, 255], [51, 102]]], np.uint8))
    heat = evidence.read_frame(tmp_path / "f.npz", watched)
    np.testing.assert_allclose(heat[0, 0], [0, 0, 1, 1])
    np.testing.assert_allclose(heat[0, 3], [0.2, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 9, 2), (1, 2), (1, 2, 2, 3)])
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "f.npz", picture=np.zeros(shape, np.float32))
    with pytest.raises(EvidenceError):
        evidence.read_frame(tmp_path / "f.npz", WatchedImages(images=np.zeros((1, 4, 4, 3), np.uint8)))


def test_the_attention_shift_is_that_of_the_attempt_that_was_kept(full_run: Path) -> None:
    from auditor.report.log import read_curves

    panel = shift_panel(read_curves(full_run / "events.jsonl").attempts, full_run)
    assert panel is not None
    assert (panel.curve.method, panel.curve.accepted) == ("prune", True)
    assert len(panel.cards) == 4
    assert [p.caption for p in panel.cards[0].pictures] == ["with trigger", "suspect", "step 3", "step 6", "step 9", "step 12"]


def test_missing_and_outside_frames_are_left_out(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path)
    outside = curve(point(0, heat_maps="../x.npz"), point(1, heat_maps="evidence/frames/1.npz"), accepted=True)
    assert shift_panel([outside], folder) is None
    (folder / "evidence" / "watched.npz").unlink()
    assert shift_panel([outside], folder) is None


def test_the_page_draws_curves_and_shift(full_html: str) -> None:
    section = page_reader.read(full_html).by_id("remediation").text
    assert "edit, attempt 1" in section and "prune, attempt 2 (kept)" in section
    assert "attention on the trigger" in section and "random masks" in section and "loss terms" in section
    assert "How the attention moved while prune ran" in section


def test_without_steps_the_page_says_the_rest(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path)
    (folder / "events.jsonl").unlink()
    section = page_reader.read(render(folder, pdf=False).html.read_text(encoding="utf-8")).by_id("remediation").text
    assert "How the attention moved" not in section and "attempt 1" not in section
    assert "Retest: before and after" in section


def probes() -> list[Probe]:
    shared = {"target_class": runs.TARGET, "family": "patch", "reference_classes": [0, 5, 8]}
    return [
        Probe(name="relearning", steps=3, attack_success_rate=runs.rate(20, 27), reference=runs.rate(4, 81),
              is_weakness=True, finding="After 3 steps it wakes.", curve=[0.1, 0.4, 0.74], reference_curve=[0.0, 0.01, 0.05],
              **shared),
        Probe(name="reactivation", steps=40, attack_success_rate=runs.rate(2, 27), reference=runs.rate(4, 81),
              is_weakness=False, finding="It does not stand out.", **shared),
    ]  # type: ignore[arg-type]  # fmt: skip


def test_weaknesses_are_printed(tmp_path: Path) -> None:
    complete = runs.badnets().verification
    assert complete is not None
    weak = replace(complete, probes=probes(), weaknesses=["After 3 steps it wakes."])
    page = page_reader.read(render(runs.write_run(tmp_path, runs.badnets(verification=weak)), pdf=False).html.read_text("utf-8"))
    section = page.by_id("remediation").text
    assert "Weakness. After 3 steps it wakes." in section
    assert "does not stand out" in section and "0 (airplane), 5 (dog), 8 (ship)" in section
    assert "re-learning the trigger" in section
    assert "Sanitized and verified" in page.all("header")[0].text  # it warns, it does not fail
