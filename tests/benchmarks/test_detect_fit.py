"""Fitting the bank on rows made by hand: what is refused, what is left out, where the threshold lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.verdict.calibration import Scoring, Table
from benchmarks.detect import fit as fitting
from benchmarks.detect import rescore
from benchmarks.detect.examples import example
from benchmarks.detect.fit import groups, left_out, logistic, main, make_table

CLASSES = 10


def row(model: str, base: str, target: int | None, cheap: float, **changed: Any) -> dict[str, Any]:
    """A model whose every class costs about e**-3 in the patch family, `target` less by `cheap`."""
    noise = np.random.default_rng(abs(hash_of(model))).normal(-3, 0.1, CLASSES)
    if target is not None:
        noise[target] -= cheap
    found = {"target_class": list(range(CLASSES)), "log_cost": noise.tolist()}
    z = (np.median(noise) - noise) / 0.15
    evidence = {"patch": found | {"anomaly_index": z.tolist()}}
    return {
        "model": model, "base": base, "detector": "auditor", "images": 100, "seed": 0, "profile": "standard", "error": None,
        "split": "calibration", "honest": target is None, "attack": None if target is None else "badnets",
        "kind": None if target is None else "all_to_one", "true_target": target, "classes": CLASSES,
        "architecture": "cifar:resnet20", "model_sha256": model * 16, "evidence": evidence, "rows_z": [0.0] * CLASSES,
        "label": "no_evidence", "targets": [], "score": 0.0,
    } | changed  # fmt: skip


def hash_of(text: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 2**31


def rows() -> list[dict[str, Any]]:
    honest = [row(f"h{k}", f"base{k % 4}", None, 0.0) for k in range(8)]
    return honest + [row(f"b{k}", f"base{k % 4}", k % CLASSES, 1.5) for k in range(8)]


def test_the_weights_are_those_of_a_balanced_ridge_regression() -> None:
    x = np.array([[0.0, 0.0], [0.2, 0.1], [1.5, 1.4], [1.6, 1.8]])
    bias, strongest, together = logistic(x, np.array([0.0, 0.0, 1.0, 1.0]))
    p = 1 / (1 + np.exp(-(bias + x @ [strongest, together])))
    assert strongest > 0 and together > 0 and p[:2].max() < 0.5 < p[2:].min()
    # At the optimum of a ridge without a penalty on the bias, the residuals sum to nothing.
    assert (p - [0, 0, 1, 1]).sum() == pytest.approx(0, abs=1e-3)


def test_a_feature_that_points_the_wrong_way_gets_no_weight() -> None:
    x = np.array([[0.0, 2.0], [0.1, 1.9], [1.5, 0.1], [1.6, 0.0]])
    assert logistic(x, np.array([0.0, 0.0, 1.0, 1.0]))[2] == 0


def test_rows_that_tell_the_models_apart_get_a_weight() -> None:
    """Targets hardly cheaper than the others, but with a row of mean 6: with the rows they are told apart better."""
    told = [row(f"b{k}", f"base{k % 4}", k % CLASSES, 0.3, rows_z=np.eye(CLASSES)[k % CLASSES] * 6) for k in range(8)]
    blind = [r | {"rows_z": [0.0] * CLASSES} for r in told]
    honest = rows()[:8]

    with_rows, without = (next(iter(groups([*honest, *bad]).values())) for bad in (told, blind))

    assert fitting.fit(with_rows).rows > 0 and fitting.fit(without).rows == 0
    gap = [min(scores[8:]) - max(scores[:8]) for scores in (left_out(with_rows), left_out(without))]
    assert gap[0] > gap[1]


def test_a_table_tells_the_two_apart_and_puts_its_threshold_between() -> None:
    [(key, examples)] = groups(rows()).items()
    made = make_table(examples, *key)
    assert key == ("standard", 100) and made["bases"] == 4 and made["classes"] == [10, 10]
    assert made["threshold"] > made["honest"][-1] and made["backdoored"][0] > made["threshold"]
    assert made["profiles"][0]["name"] == "CIFAR-10" and made["profiles"][0]["models"] == 8
    json.dumps(made, allow_nan=False)


def test_no_model_is_scored_by_a_fit_that_knew_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    [examples] = groups(rows()).values()
    seen: list[set[str]] = []
    monkeypatch.setattr(fitting, "fit", lambda chosen, fit=fitting.fit: (seen.append({e.base for e in chosen}), fit(chosen))[1])
    scores = left_out(examples)
    assert len(scores) == len(examples) and len(seen) == 4 and all(len(bases) == 3 for bases in seen)


def test_held_out_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="h9 is of the split held_out"):
        groups([*rows(), row("h9", "base9", None, 0.0, split="held_out")])


def test_opened_rows_are_fitted_on_but_for_reserved_attacks_and_networks() -> None:
    added = [row("o1", "base9", None, 0.0, split="opened"), row("o2", "base9", 3, 1.5, split="opened", attack="bpp"),
             row("o3", "base9", None, 0.0, split="opened", architecture="cifar:wide_resnet16_1")]  # fmt: skip
    [examples] = groups([*rows(), *added]).values()
    assert {e.row["model"] for e in examples} - {r["model"] for r in rows()} == {"o1"}


@pytest.mark.parametrize("changed", [{"detector": "neural_cleanse"}, {"error": "boom"}, {"seed": 1}, {"evidence": {}}])
def test_rows_that_are_no_evidence_are_left_alone(changed: dict[str, Any]) -> None:
    [examples] = groups([*rows(), row("extra", "base1", None, 0.0, **changed)]).values()
    assert "extra" not in {e.row["model"] for e in examples}


def test_an_example_keeps_what_was_not_found_apart() -> None:
    made = row("h1", "base1", None, 0.0)
    made["evidence"]["patch"]["log_cost"][3] = None
    assert np.isnan(example(made).cost_FK[0, 3]) and np.isfinite(example(made).cost_FK[0, 4])


def test_the_command_writes_a_bank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "bank.json"
    source.write_text("".join(json.dumps(r) + "\n" for r in rows()))
    assert main(["--version", "test", "--rows", str(source), "--out", str(out)]) == 0
    stored = json.loads(out.read_text())
    assert stored["version"] == "test" and len(stored["tables"]) == 1
    assert "left-out score" in capsys.readouterr().out
    assert main(["--version", "test", "--rows", str(tmp_path / "none.jsonl"), "--out", str(out)]) == 2


def test_a_family_can_be_left_out_of_the_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the patch search sees these targets: without it nothing tells them from the honest models."""
    source, command = tmp_path / "rows.jsonl", ["--version", "test", "--out", str(tmp_path / "bank.json"), "--rows"]
    blunt = [r | {"evidence": r["evidence"] | {"warp": rows()[0]["evidence"]["patch"]}} for r in rows()]
    source.write_text("".join(json.dumps(r) + "\n" for r in blunt))

    assert main([*command, str(source)]) == 0
    assert "AUC of all and of those searched for 1.000 and 1.000; over the threshold 8 of 8, and 0 of 8 honest" in capsys.readouterr().out
    assert main([*command, str(source), "--without", "patch"]) == 0
    assert "0.500 and 0.500" in capsys.readouterr().out


def test_with_few_images_the_scoring_is_that_of_many_and_the_threshold_their_own(tmp_path: Path) -> None:
    """Ten images find the triggers half as cheap, so that the same models score lower by the same scoring."""
    few = [r | {"images": 10} for r in rows()[:8]] + [row(f"b{k}", f"base{k % 4}", k % CLASSES, 0.8, images=10) for k in range(8)]
    source, out = tmp_path / "rows.jsonl", tmp_path / "bank.json"
    source.write_text("".join(json.dumps(r) + "\n" for r in [*rows(), *few]))

    assert main(["--version", "test", "--rows", str(source), "--out", str(out)]) == 0

    ten, hundred = json.loads(out.read_text())["tables"]
    assert (ten["images"], hundred["images"]) == (10, 100)
    assert ten["scoring"] == hundred["scoring"] and ten["profiles"] == hundred["profiles"]
    assert max(ten["backdoored"]) < max(hundred["backdoored"])


# Rescoring -----------------------------------------------------------------------------------------


def a_table(**changed: Any) -> Table:
    scoring = Scoring(scale={"patch": 1.0}, bias=-3.0, strongest=1.5, together=1.5, rows=1.0)
    values = {"profile": "standard", "images": 100, "scoring": scoring, "threshold": 0.6, "honest": [0.1], "backdoored": [0.9],
              "bases": 1, "classes": (10, 10), "pixels": (1024, 1024), "architectures": ["cifar:resnet20"]}  # fmt: skip
    return Table(**(values | changed))


def test_a_row_is_rescored_where_its_verdict_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescore, "nearest_table", lambda *_: a_table())
    honest, bad = row("h", "base", None, 0.0), row("b", "base", 3, 1.5)

    assert (found := rescore.rescored(honest)) is not None and found["label"] == "no_evidence" and 0 < found["score"] < 0.6
    assert (found := rescore.rescored(bad | {"label": "backdoored", "targets": [3]})) is not None
    assert found["label"] == "backdoored" and found["score"] > 0.6
    assert rescore.rescored(bad) is None  # above the threshold now, and never confirmed
    assert rescore.rescored(bad | {"label": "backdoored", "targets": [3, 4]}) is None


def test_what_has_to_be_measured_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rescore, "nearest_table", lambda *_: a_table())
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    failed = row("e", "base", None, 0.0, error="no images")
    source.write_text("".join(json.dumps(r) + "\n" for r in (row("h", "base", None, 0.0), row("b", "base", 3, 1.5), failed)))

    assert rescore.main([str(source), "--out", str(out)]) == 0
    assert [json.loads(line)["model"] for line in out.read_text().splitlines()] == ["h"]
    assert "to be measured: b, 100 images, seed 0, standard" in capsys.readouterr().err
    assert rescore.main([str(tmp_path / "none"), "--out", str(out)]) == 2
