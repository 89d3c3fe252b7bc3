"""The pure parts of the benchmarks: what counts as right, ranks, shares, ratios, and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.metrics import wilson
from auditor.plain import to_plain
from benchmarks import sample_models, shared_ablation, shared_zoo

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not (SHARED / "zoo" / "zoo.py").is_file(), reason="the shared zoo is not beside the project")


def verdict(label: str, *targets: int) -> dict[str, Any]:
    return {"label": label, "target_classes": list(targets), "score": 0.9, "per_class": []}


@pytest.mark.parametrize(("said", "target", "right"), [
    (verdict("backdoored", 3), 3, True), (verdict("backdoored", 3, 5), 3, False), (verdict("backdoored", 5), 3, False),
    (verdict("no_evidence"), 3, False), (verdict("no_evidence"), None, True), (verdict("backdoored", 3), None, False),
    (verdict("inconclusive"), None, False), (None, None, False), (None, 3, False),
])  # fmt: skip
def test_right_means_exactly_the_true_target(said: dict[str, Any] | None, target: int | None, right: bool) -> None:
    assert shared_zoo.is_right(said, target) is right


def told(**result: Any) -> dict[str, Any]:
    cost = {"forward_images": 10, "backward_images": 4}
    run = {"seconds": {"detect": 1.0}, "exit_code": 1, "threads": 1, "device": "cpu"}
    whole = {"verdict": verdict("backdoored", 3), "cost": cost, "run": run, "errors": [], "tool": {"torch": "2"}, **result}
    return {"result": whole, "seconds": 12.3, "libraries_bytes": 300 * 1024**2, "peak_bytes": 350 * 1024**2}


def test_a_scan_row_shows_cost_and_memory_over_the_libraries() -> None:
    row = shared_zoo.row_of("scan", {"name": "m", "target": 3}, told(), images=50, seed=2, profile="quick")
    line = shared_zoo.scan_table([row]).splitlines()[2].split(" | ")
    found = dict(zip(shared_zoo.SCAN_HEADER, [text.strip("| ") for text in line], strict=True))
    assert (found["verdict"], found["target"], found["right"], found["seconds"]) == ("backdoored", "3", "yes", "12")
    assert (found["MiB over libraries"], found["exit"], found["forward"], found["backward"]) == ("50", "1", "10", "4")


def test_a_run_that_ended_early_still_has_a_row() -> None:
    row = shared_zoo.row_of("scan", {"name": "m", "target": None}, told(verdict=None, cost=None), images=5, seed=0,
                            profile="quick")  # fmt: skip
    assert row["right"] is False and row["verdict"] is None and row["forward_images"] is None
    assert "| - |" in shared_zoo.scan_table([row])


def test_an_audit_row_shows_wilson_intervals_before_and_after() -> None:
    before = to_plain({"accuracy": wilson(552, 600), "attack_success_rate": wilson(535, 535)})
    after = to_plain({"accuracy": wilson(546, 600), "attack_success_rate": wilson(3, 535)})
    row = shared_zoo.row_of("audit", {"name": "m", "target": 3}, told(), images=50, seed=0, profile="quick")
    shown = shared_zoo.audit_table([row | {"passed": True, "method": "edit", "before": before, "after": after,
                                            "after_as_trained": before}])  # fmt: skip
    assert "92.0 % [89.6, 93.9] of 600 | 91.0 % [88.4, 93.0] of 600 | 100.0 % [99.3, 100.0] of 535 | 0.6 % [0.2, 1.6] of 535" in shown
    assert "yes" in shown and shown.count("100.0 % [99.3, 100.0] of 535") == 2
    nothing = dict.fromkeys(("passed", "method", "before", "after", "after_as_trained"))
    assert "| - | - |" in shared_zoo.audit_table([row | nothing])


@pytest.mark.parametrize("text", ["", "a", "1,,2", "-1"])
def test_seeds_are_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        shared_zoo.seeds(text)
    assert shared_zoo.seeds("0,2, 5") == [0, 2, 5]


def test_a_missing_shared_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not beside the project"):
        shared_zoo.shared_zoo(tmp_path)


@needs_shared
def test_an_unknown_or_honest_model_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--only", "nothing"], ["--audit", "r20_clean_s1"]):
        assert shared_zoo.main(arguments) == 2
        assert "r20_badnets_t3" in capsys.readouterr().err


@needs_shared
def test_handed_over_and_held_out_images_do_not_meet(tmp_path: Path) -> None:
    zoo = shared_zoo.shared_zoo()
    model = next(m for m in zoo.models() if m["name"] == "r20_badnets_t3")
    trial = shared_zoo.held_out(zoo, model)
    with np.load(shared_zoo.clean_images(tmp_path / "c.npz", 50, 0)) as stored:
        given, labels = stored["x"], stored["y"]
    assert len(trial.labels) == 600 and trial.target == 3 and np.bincount(labels).tolist() == [5] * 10
    seen = {np.asarray(image).tobytes() for image in given}
    evaluated = (trial.clean * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    assert not seen & {np.ascontiguousarray(image).tobytes() for image in evaluated}
    # The true trigger is a 3 x 3 checker, one pixel from the lower right edges, and nothing else
    changed = np.abs(trial.triggered - trial.clean).max(axis=(0, 1)) > 0
    assert changed[28:31, 28:31].any() and changed.sum() <= 9 and not changed[:28].any()


def test_the_rank_of_a_class_counts_ties_at_their_mean() -> None:
    assert shared_ablation.rank([5, 9, 1], 1) == 1
    assert shared_ablation.rank([5, 9, 1], 2) == 3
    assert shared_ablation.rank([4, 4, 9], 0) == 2.5
    assert shared_ablation.rank([0] * 10, 3) == 5.5  # nothing shared is a random order


def test_shares_are_sorted_and_honest_ones_are_means_over_models() -> None:
    assert shared_ablation.shares([1, 3, 0]) == [0.75, 0.25, 0.0]
    assert shared_ablation.shares([0, 0]) == [0.0, 0.0]
    rows = [{"model": m, "honest": h, "with_twin": {"histogram": c}} for m, h, c in (
        ("a", True, [4, 0]), ("a", True, [2, 2]), ("b", True, [0, 4]), ("c", False, [1, 1]))]  # fmt: skip
    assert shared_ablation.honest_shares(rows) == [0.875, 0.125]  # a: (1 + 0.5) / 2 = 0.75; b: 1
    assert shared_ablation.honest_shares(rows[3:]) == []


def test_a_cost_is_compared_with_the_median_of_the_others() -> None:
    assert shared_ablation.cost_ratio([2.0, 4.0, 8.0, 100.0], 0) == 0.25
    assert shared_ablation.cost_ratio([2.0, None, None, 3.0], 0) is None  # most others have no cost
    assert shared_ablation.cost_ratio([None, 4.0, 8.0, 100.0], 0) is None


def test_the_ablation_table_has_backdoored_and_honest_models() -> None:
    common = {"seed": 0, "disagreement": 0.5, "commit": "c", "without_twin": {"histogram": [9, 5, 1], "images_passed": 7}}
    attacked = common | {"model": "bad", "honest": False, "target": 1, "with_twin": {"histogram": [1, 9, 0], "images_passed": 12},
                         "costs_from_shared": [4.0, 1.0, 4.0], "costs_from_noise": [4.0, 2.0, 4.0]}  # fmt: skip
    honest = common | {"model": "good", "honest": True, "target": None, "with_twin": {"histogram": [6, 3, 1], "images_passed": 9}}
    shown = shared_ablation.show([attacked, honest])
    assert "| bad | 0 | 1 | 1 | 2 | 2 | 50% | 12 | 0.250 | 0.500 | c |" in shown
    assert "1.00 with the twin, 2.00" in shown
    assert "HONEST_SHARES = (0.6, 0.3, 0.1)  # 1 models" in shown


def test_one_row_a_model_and_seed_of_the_setting_asked_for() -> None:
    rows = [{"model": "a", "seed": seed, "images": images, "additive": additive, "at": at} for at, (seed, images, additive) in
            enumerate([(0, 26, True), (0, 26, False), (1, 26, False), (1, 26, False), (0, 50, True)])]  # fmt: skip
    assert sorted(row["at"] for row in shared_ablation.chosen(rows, images=26)) == [0, 3]
    assert [row["at"] for row in shared_ablation.chosen(rows, images=50)] == [4]


def test_an_empty_zoo_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shared_ablation.main(["--zoo", str(tmp_path), "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "benchmarks.zoo build" in capsys.readouterr().err


def test_fresh_samples_are_those_of_the_samples_script() -> None:
    trial = sample_models.fresh(24, 100)
    assert trial.clean.shape == (24, 3, 32, 32) and trial.clean.dtype == np.float32
    assert 0 <= trial.clean.min() and trial.clean.max() <= 1 and trial.target == 11
    changed = np.abs(trial.triggered - trial.clean).max(axis=(0, 1)) > 0
    assert changed[26:30, 26:30].all() and changed.sum() == 16


def test_seeds_that_made_the_samples_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert sample_models.main(["--seed", "3", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "take another" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(sample_models, "measure_checkpoint", lambda name, trial: {"model": name, "audited": None})
    assert sample_models.main(["--run", str(tmp_path), "--count", "12", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "result.json" in capsys.readouterr().err
