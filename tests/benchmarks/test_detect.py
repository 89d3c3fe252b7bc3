"""The detection benchmark: which cells there are, what a row holds, resuming, merging, and the tables."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.detect import __main__ as command
from benchmarks.detect import cells, running, tables
from benchmarks.detect.__main__ import main
from benchmarks.detect.cells import (
    AUDITOR,
    NEURAL_CLEANSE,
    Cell,
    by_family,
    dozen,
    initialisation,
    leaks,
    measure,
    plan,
)
from benchmarks.rows import Row, append_row, read_rows
from benchmarks.zoo import networks
from benchmarks.zoo.data import SHARED, Images

needs_shared = pytest.mark.skipif(
    not (SHARED / "data" / "cifar10_test").is_dir(), reason="the shared data is not there"
)


def model(name: str, attack: str | None = None, base: str = "a", split: str = "held_out", **more: Any) -> Row:
    """A row of the manifest, as far as cells read it."""
    kind = {"tact": "source_specific", None: None}.get(attack, "all_to_one")
    return {"name": name, "split": split, "base": base, "seed": 0, "architecture": "cifar:resnet20", "attack": attack,
            "honest": attack is None, "kind": kind, "target": None if attack is None else 3, "source_classes": [],
            "class_names": [str(i) for i in range(10)], "sha256": f"sha of {name}", "path": f"somewhere/{name}/model.pt",
            "measured_on": "cifar10_val[:2000], after rounding", "recipe": {"train_set": "cifar10_train"}} | more  # fmt: skip


def row(m: Row, detector: str = AUDITOR, label: str | None = "no_evidence", score: float | None = 0.1,
        targets: Iterable[int] = (), **more: Any) -> Row:  # fmt: skip
    """What measuring `m` might give."""
    return {"model": m["name"], "detector": detector, "images": 100, "seed": 0, "repeat": 0, "error": None, "label": label,
            "profile": "standard" if detector == AUDITOR else "published", "score": score, "targets": list(targets),
            "seconds": 10.0, "cpu_seconds": 9.0, "forward_images": 1000, "backward_images": None, "commit": "c",
            "images_sha256": "i", **cells.truth(m)} | more  # fmt: skip


def test_cells_are_every_combination_but_neural_cleanse_without_images() -> None:
    found = plan([model("m"), model("n")], detectors=[AUDITOR, NEURAL_CLEANSE], images=[0, 50], seeds=[0, 1],
                 profile="quick", repeats=2)  # fmt: skip
    assert len({cell.key for cell in found}) == len(found) == 2 * 2 * 2 * (1 + 2)
    assert {c.profile for c in found if c.detector == AUDITOR} == {"quick"}
    assert not [c for c in found if c.detector == NEURAL_CLEANSE and c.images == 0]


def test_an_initialisation_from_scratch_is_told_by_its_seed_too() -> None:
    models = [model("x", base="scratch:vgg", seed=seed, split=split) for seed, split in
              ((1, "held_out"), (2, "calibration"), (3, "held_out"))]  # fmt: skip
    pairs = [(initialisation(m), m["split"]) for m in models]
    assert leaks(pairs) == [] and leaks([*pairs, ("scratch:vgg#3", "calibration")]) == ["scratch:vgg#3"]
    assert leaks([("a", "dev"), ("a", "calibration")]) == []  # only the held-out split must stand alone


def test_the_dozen_is_spread_and_does_not_depend_on_the_order() -> None:
    attacks = ("badnets", "blended", "sig", "wanet", "lf", "tact", "bpp", "ssba", "all_to_all")
    models = [model(f"{base}_{attack or 'honest'}", attack, base) for base in "abcde" for attack in (*attacks, None)]
    found = dozen(models)
    bad = [m for m in found if not m["honest"]]
    assert len(found) == 12 and len(bad) == 8
    assert len({m["attack"] for m in bad}) == 8 and {m["base"] for m in bad} == set("abcde")
    assert len({m["base"] for m in found if m["honest"]}) == 4
    assert dozen(models[::-1]) == found
    assert len(dozen(models[:3])) == 3  # no more than there are


def test_clean_images_are_not_those_the_model_was_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: a test set whose images hold their own index
    every = Images(images=torch.arange(6000).view(-1, 1, 1, 1), labels=torch.arange(6000) % 43, class_names=[])
    monkeypatch.setattr(cells, "load_images", lambda name: every)
    signs = model("s", measured_on="gtsrb_test[:2000], after rounding", recipe={"train_set": "gtsrb_train"})

    def drawn(m: Row, count: int) -> set[int]:
        return set(cells.sample(m, count, 0).images.flatten().tolist())

    assert drawn(signs, 500) <= set(range(2000, 4000)) and len(drawn(signs, 500)) == 500
    assert drawn(model("c"), 400) == set(range(400)) and max(drawn(model("c"), 500)) in range(400, 1000)
    assert drawn(model("c"), 0) == set()
    assert torch.bincount(cells.sample(signs, 86, 0).labels).tolist() == [2] * 43
    for wrong in ({"measured_on": "somewhere"}, {"recipe": {"train_set": "cifar10_test"}}):
        with pytest.raises(ValueError, match="unseen"):
            cells.sample(model("c", **wrong), 10, 0)


def test_evidence_is_one_list_a_field_in_order_of_class() -> None:
    entries = [{"target_class": k, "family": "patch", "cost": cost, "anomaly_index": 0.123456789, "p_value": None,
                "held": {"hits": k, "total": 4, "rate": k / 4}} for k, cost in ((1, None), (0, 1.0))]  # fmt: skip
    assert by_family(entries) == {"patch": {"target_class": [0, 1], "log_cost": [0.0, None],
                                            "anomaly_index": [0.123457] * 2, "held": [[0, 4], [1, 4]]}}  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """An untrained network as the zoo stores a model, twice."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = networks.build("cifar:resnet20", 10, 0, None).state_dict()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "model.pt")
        meta = model(name, "badnets", width=0, normalization={"mean": [0.5] * 3, "std": [0.25] * 3})
        meta["sha256"] = hashlib.sha256((tmp_path / name / "model.pt").read_bytes()).hexdigest()
        meta["recipe"]["attack"] = None
        (tmp_path / name / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if k != "path"}))
    return tmp_path


@needs_shared
def test_both_detectors_leave_a_row_of_a_real_file(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = cells.neural_cleanse.Settings(epochs=2)
    monkeypatch.setattr(cells.neural_cleanse, "Settings", lambda: short)
    first = next(iter(command.manifest(zoo)))
    given = {d: measure(Cell(model=first, detector=d, images=20, seed=0, profile="quick")) for d in cells.DETECTORS}
    ours, theirs = given[AUDITOR], given[NEURAL_CLEANSE]
    # An untrained network fails preflight: a row with a verdict and no score
    assert ours["label"] == "inconclusive" and ours["score"] is None and ours["reasons"] and ours["error"] is None
    assert theirs["forward_images"] == theirs["backward_images"] == 2 * 20 * 10
    assert len(theirs["evidence"]["mask"]["l1"]) == 10 and theirs["score"] is not None
    assert ours["images_sha256"] == theirs["images_sha256"] and len(tables.paired([ours], [theirs])) == 1
    assert str(zoo) not in json.dumps(given)


@needs_shared
def test_side_by_side_and_broken_files_still_give_rows(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (zoo / "two" / "model.pt").write_bytes(b"not a checkpoint")
    out = [
        "--zoo",
        str(zoo),
        "--out",
        str(zoo / "rows.jsonl"),
        "--images",
        "0",
        "--detectors",
        "auditor",
        "--jobs",
        "2",
    ]
    assert main(out) == 0
    rows = {r["model"]: r for r in read_rows(zoo / "rows.jsonl")}
    assert rows["one"]["error"] is None and rows["one"]["label"] == "inconclusive"
    assert rows["two"]["error"] and rows["two"]["score"] is None and str(zoo) not in rows["two"]["error"]
    assert "0 min left" in capsys.readouterr().err


def test_what_is_done_stays_done_and_an_interrupt_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    models, ran = [model("m"), model("n", "badnets", "b")], []

    def measured(cell: Cell) -> Row:
        ran.append(cell.model["name"])
        if len(ran) == 2:
            raise KeyboardInterrupt
        return row(cell.model, error="a hiccup" if len(ran) == 3 else None)

    monkeypatch.setattr(command, "manifest", lambda folder: models)
    monkeypatch.setattr(running, "measure", measured)
    out = ["--out", str(tmp_path / "rows.jsonl"), "--detectors", "auditor"]
    # m, then n is interrupted; n ends in an error; n again; nothing; the file of m is another one; all again
    codes = [main(out) for _ in range(4)]
    models[0] = model("m", sha256="other")
    codes += [main(out), main([*out, "--again"])]
    assert codes == [130, 0, 0, 0, 0, 0] and ran == ["m", "n", "n", "n", "m", "m", "n"]
    assert "interrupted" in capsys.readouterr().err


def test_a_worker_that_dies_ends_the_run_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def measured(cell: Cell) -> Row:
        if cell.model["name"] == "n":
            raise BrokenProcessPool("a process was terminated")
        return row(cell.model)

    monkeypatch.setattr(command, "manifest", lambda folder: [model("m"), model("n", base="b")])
    monkeypatch.setattr(running, "measure", measured)
    assert main(["--out", str(tmp_path / "rows.jsonl"), "--detectors", "auditor"]) == 2
    assert "terminated" in capsys.readouterr().err
    assert [r["model"] for r in read_rows(tmp_path / "rows.jsonl")] == ["m"]


def test_merging_adds_what_is_missing_and_a_shared_base_is_refused(tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    mine, theirs = tmp_path / "mine.jsonl", tmp_path / "theirs.jsonl"
    append_row(mine, row(model("m"), score=0.1))
    for other in (row(model("m"), score=0.9), row(model("n", "sig", "b"), score=0.8)):
        append_row(theirs, other)
    assert main(["--out", str(mine), "--merge", str(theirs), "--show"]) == 0
    assert [(r["model"], r["score"]) for r in read_rows(mine)] == [("m", 0.1), ("n", 0.8)]
    append_row(mine, row(model("k", split="calibration", base="b")))
    assert main(["--out", str(mine), "--show"]) == 2 and "initialisations" in capsys.readouterr().err
    assert main(["--out", str(mine), "--merge", str(tmp_path / "none"), "--show"]) == 2


def some_rows() -> list[Row]:
    """Four honest and three backdoored models on three bases, by both detectors."""
    honest = [model(f"h{i}", base=b) for i, b in enumerate("aabc")]
    bad = [model("b0", "badnets", "a"), model("b1", "badnets", "b"), model("t", "tact", "c")]
    ours = [
        row(m, score=s, label=label)
        for m, s, label in zip(
            honest, (0.1, 0.2, 0.3, None), ("no_evidence", "inconclusive", "backdoored", "inconclusive"), strict=True
        )
    ]
    ours += [row(bad[0], label="backdoored", score=0.9, targets=[3]), row(bad[1], label="backdoored", score=0.8, targets=[3, 5]),
             row(bad[2], label="inconclusive", score=0.25)]  # fmt: skip
    theirs = [row(m, NEURAL_CLEANSE, score=1.0) for m in (*honest, *bad)]
    return ours + theirs


def line(text: str, start: str) -> list[str]:
    return [
        part.strip()
        for part in next(x for x in text.splitlines() if x.startswith(f"| {start} |")).strip("|").split("|")
    ]


def test_the_tables_count_as_the_rules_say() -> None:
    shown = tables.show(some_rows(), "held_out")
    summary = dict(zip(tables.SUMMARY, line(shown, "auditor standard"), strict=False))
    # AUC: 0.9 and 0.8 beat 0.1, 0.2, 0.3, not the unscored honest model, which counts as highest: 3 + 3; 0.25 beats two
    assert summary["AUC [over bases]"].startswith("0.667 [") and summary["without a score"] == "1"
    assert summary["detected (TPR)"].startswith("66.7 %") and summary["detected (TPR)"].endswith("of 3")
    assert summary["false alarms (FPR)"].startswith("25.0 %") and summary["inconclusive: honest, backdoored"] == "2, 1"
    assert summary["right target"].startswith("50.0 %")  # [3, 5] is not exactly 3
    assert "TPR at 1% FPR: not measurable (4 honest models; it needs 299)" in shown
    patch = dict(zip(tables.ATTACKS, line(shown, "badnets"), strict=True))
    assert patch["AUC"].startswith("0.750 [") and patch["its AUC"].startswith("0.500 [")
    assert patch["AUC minus its [over bases]"].startswith("+0.250 [") and patch["paired models"] == "4 + 2"
    assert line(shown, "tact")[5] == "-"  # a source-specific backdoor has no right target here
    assert tables.show(some_rows()[::-1], "held_out") == shown  # whatever the order of rows
    assert tables.show(some_rows(), "calibration") == "No rows of split 'calibration'."


def test_other_images_are_not_paired() -> None:
    rows = [r | {"images_sha256": r["detector"]} for r in some_rows()]
    assert line(tables.show(rows, "held_out"), "all")[-2:] == ["-", "0 + 0"]


def test_agreement_is_over_seeds_and_over_the_same_seed() -> None:
    m, n = model("m", "sig"), model("n", base="b")
    rows = [
        row(m, label="backdoored", targets=[3], score=0.9, seed=s, repeat=r)
        for s, r in ((0, 0), (1, 0), (2, 0), (0, 1))
    ]
    rows += [row(n, label=label, score=score, seed=s, repeat=r) for label, score, s, r in (
        ("no_evidence", 0.2, 0, 0), ("inconclusive", 0.5, 1, 0), ("no_evidence", 0.2, 2, 0), ("no_evidence", 0.2, 0, 1))]  # fmt: skip
    seeds, again = tables.agreement(rows)
    assert seeds[2:4] == ("other seeds", "2 of 3 runs") and str(seeds[4]).startswith("50.0 %") and seeds[5] == "0.3"
    assert (
        again[2:4] == ("the same seed again", "2 of 2 runs") and str(again[4]).startswith("100.0 %") and again[5] == "0"
    )
    assert len(re.findall(r"^### ", tables.show(rows, "held_out"), re.M)) == 2


@pytest.mark.parametrize("wrong", [["--detectors", "other"], ["--images", "-5"], ["--jobs", "0"], ["--repeats", "x"]])
def test_wrong_usage_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2


def test_an_empty_zoo_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--zoo", str(tmp_path), "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "benchmarks.zoo build" in capsys.readouterr().err
