"""The benchmark of removal, with the runs themselves replaced: what it measures, keeps and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import removal_tables, remove
from benchmarks.removal_plot import draw
from benchmarks.rows import read_rows
from benchmarks.zoo import networks
from benchmarks.zoo.attacks import BadNets
from benchmarks.zoo.build import Model
from benchmarks.zoo.data import Images

CLASSES = [str(k) for k in range(4)]


def rates(accuracy: float, asr: float) -> dict[str, Any]:
    return {"accuracy": {"rate": accuracy, "low": 0.0, "high": 1.0, "total": 10},
            "attack_success_rate": {"rate": asr, "low": 0.0, "high": 1.0, "total": 10},
            "recovered_accuracy": {"rate": 0.5, "low": 0.0, "high": 1.0, "total": 10}}  # fmt: skip


def row(model: str, method: str, before: tuple[float, float], after: tuple[float, float] | None, **fields: Any) -> dict[str, Any]:
    return {"model": model, "base": model, "attack": "badnets", "images": 50, "seed": 0, "method": method, "commit": "c",
            "verdict": "backdoored", "passed": after is not None, "before": rates(*before),
            "after": None if after is None else rates(*after)} | fields  # fmt: skip


def test_der_rewards_asr_lost_and_charges_accuracy_lost() -> None:
    assert removal_tables.der(row("m", "x", (0.9, 1.0), (0.8, 0.2))) == pytest.approx((0.8 - 0.1 + 1) / 2)
    assert removal_tables.der(row("m", "x", (0.8, 0.2), (0.9, 0.5))) == pytest.approx(0.5)  # neither gain nor loss counts


def test_means_are_over_models_found_and_auto_is_paired() -> None:
    rows = [row("a", "auto", (0.9, 1.0), (0.9, 0.0), twin_asr=0.03), row("b", "auto", (0.9, 1.0), (0.8, 0.2)),
            row("a", "prune", (0.9, 1.0), (0.9, 0.2)), row("b", "prune", (0.9, 1.0), None, verdict="no_evidence")]  # fmt: skip

    header, _, auto, prune = removal_tables.mean_table(rows).splitlines()

    cells = [cell.strip() for cell in auto.split("|")[1:-1]]
    assert cells[:6] == ["50", "auto", "2", "0", "2", "1"]
    assert cells[6].startswith("10.0 [0.0, 20.0]") and cells[7].startswith("3.0") and cells[8].startswith("5.0") and cells[10] == "-"
    cells = [cell.strip() for cell in prune.split("|")[1:-1]]
    assert cells[:6] == ["50", "prune", "1", "1", "1", "1"] and cells[7] == "-" and cells[10] == "0.100"
    assert "DER of auto minus its" in header


def test_a_baseline_is_compared_in_its_better_setting() -> None:
    """On the one model that both settings were measured on, the published one is better at 50 images."""
    good, bad = (0.9, 0.1), (0.9, 0.9)
    rows = [row("a", "auto", (0.9, 1.0), good), row("a", "ft", (0.9, 1.0), bad), row("b", "ft", (0.9, 1.0), good),
            row("a", "ft (published)", (0.9, 1.0), good), row("a", "anp", (0.9, 1.0), bad),
            row("a", "anp (published)", (0.9, 1.0), None), row("a", "i_bau (published)", (0.9, 1.0), good),
            row("a", "ft", (0.9, 1.0), good, images=100), row("a", "ft (published)", (0.9, 1.0), good, images=100)]  # fmt: skip

    kept = [(r["images"], r["method"]) for r in removal_tables.better(rows)]

    assert kept == [(50, "auto"), (50, "ft (published)"), (50, "anp"), (50, "i_bau (published)"), (100, "ft")]


def test_auto_beside_the_best_single_method_of_each_model() -> None:
    """Best alone: on a 0.95 against auto's 1.0, on b 1.0 against 0.9, and auto alone on c."""
    before, whole = (0.9, 1.0), (0.9, 0.0)
    rows = [row("a", "auto", before, whole), row("b", "auto", before, (0.9, 0.2)), row("c", "auto", before, whole),
            row("a", "refit", before, (0.9, 0.1)), row("a", "prune", before, (0.9, 0.5)), row("b", "sau", before, whole)]  # fmt: skip

    _, _, line = removal_tables.against_best(rows).splitlines()

    assert [cell.strip() for cell in line.split("|")[1:-1]][:4] == ["50", "2", "1", "0.100, 0.100"]
    assert "-0.025" in line


def test_the_plot_shows_every_method_with_three_models_or_more() -> None:
    rows = [row(name, method, (0.9, 1.0), (0.9, 0.1)) for name in "abc" for method in ("auto", "refit")]

    drawn = draw([*rows, row("a", "prune", (0.9, 1.0), (0.9, 0.1))])

    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "auto (3)" in drawn and "refit (3)" in drawn and "prune" not in drawn
    assert drawn.count("<circle") == 2 * 3


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One model of a network that answers class 0, and runs that take no time; gives the list of runs."""
    net = networks.build("cifar:resnet20", len(CLASSES), 4, None)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    meta = {"architecture": "cifar:resnet20", "class_names": CLASSES, "width": 4}
    model = {"name": "m", "twin": "m_honest", "path": str(tmp_path / "m" / "model.pt"), "attack": "badnets", "split": "held_out", "honest": False,
             "base": "scratch:x", "seed": 1, "measured_on": "cifar10_val[:8]"}  # fmt: skip
    images = Images(images=torch.zeros(8, 3, 32, 32, dtype=torch.uint8), labels=torch.arange(8) % 4, class_names=CLASSES)
    calls: list[str] = []

    def scan_once(path: Path, clean: Path, folder: Path, **flags: Any) -> dict[str, Any]:
        calls.append("scan")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "sanitized.safetensors")
        return VERDICT

    def by_audit(path: Path, clean: Path, folder: Path, measure: Any, **flags: Any) -> dict[str, Any]:
        calls.append("audit")
        return {"passed": True, "unlearn_seconds": 3.0, "after": measure(folder / "sanitized.safetensors")}

    class Alone:
        def __init__(self, path: Path, clean: Path, folder: Path, **flags: Any) -> None:
            calls.append("alone")
            self.weights = folder / "sanitized.safetensors"

        def unlearn(self, name: str, *, published: bool, measure: Any) -> dict[str, Any]:
            calls.append(name + " as published" * published)
            return {"passed": None, "unlearn_seconds": 2.0, "after": measure(self.weights)}

        def close(self) -> None:
            calls.append("closed")

    monkeypatch.setattr(remove, "manifest", lambda _: [model])
    monkeypatch.setattr(remove, "sample", lambda *_: images)
    monkeypatch.setattr(remove, "evaluation", lambda _: images)
    monkeypatch.setattr(remove, "load_model", lambda _: Model(net=net, attack=BadNets(target=0, poison_rate=0.1), meta=meta))
    for name, fake in ("scan_once", scan_once), ("by_audit", by_audit), ("Alone", Alone):
        monkeypatch.setattr(remove, name, fake)
    return calls


VERDICT = {"verdict": {"label": "backdoored", "target_classes": [0]}}


def test_one_scan_serves_all_methods_and_rows_are_not_measured_twice(
    zoo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--methods", "auto,refit,prune", "--out", str(tmp_path / "rows.jsonl")]

    assert remove.main(command) == 0
    assert zoo == ["scan", "audit", "alone", "refit", "prune", "closed"]
    assert remove.main(command) == 0
    assert len(zoo) == 6

    rows = read_rows(tmp_path / "rows.jsonl")
    assert [(r["method"], r["passed"], r["unlearn_seconds"]) for r in rows] == [
        ("auto", True, 3.0), ("refit", None, 2.0), ("prune", None, 2.0)]
    assert rows[0]["after"] == rows[0]["before"]  # the same weights
    assert "| m | badnets | 50 | auto | yes |" in capsys.readouterr().out


def test_the_floor_is_what_the_trigger_does_to_the_honest_twin(zoo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin answers class 0, the target, on every image of another class, stamped or not."""
    net = remove.load_model(Path()).net
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.get_parameter("linear.bias" if "linear.bias" in dict(net.named_parameters()) else "fc.bias")[0] = 1
    (tmp_path / "m_honest").mkdir()
    (tmp_path / "m_honest" / "meta.json").write_text("{}")
    command = ["--methods", "refit", "--zoo", str(tmp_path)]

    assert remove.main([*command, "--out", str(tmp_path / "rows.jsonl")]) == 0
    assert read_rows(tmp_path / "rows.jsonl")[0]["twin_asr"] == 1.0
    (tmp_path / "m_honest" / "meta.json").unlink()
    assert remove.main([*command, "--out", str(tmp_path / "more.jsonl")]) == 0
    assert read_rows(tmp_path / "more.jsonl")[0]["twin_asr"] is None


def test_a_baseline_runs_in_both_settings(zoo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert remove.main(["--methods", "ft_sam, ft_sam (published)", "--out", str(tmp_path / "rows.jsonl")]) == 0

    assert zoo == ["scan", "alone", "ft_sam", "ft_sam as published", "closed"]
    assert [r["method"] for r in read_rows(tmp_path / "rows.jsonl")] == ["ft_sam", "ft_sam (published)"]
    compared, every, *_ = capsys.readouterr().out.split("Every setting:")
    assert "| ft_sam |" in compared and "published" not in compared
    assert "| ft_sam |" in every and "| ft_sam (published) |" in every


def test_where_nothing_is_found_there_is_nothing_to_remove(
    zoo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERDICT["verdict"], "label", "no_evidence")

    assert remove.main(["--methods", "refit", "--out", str(tmp_path / "rows.jsonl")]) == 0

    [found] = read_rows(tmp_path / "rows.jsonl")
    assert found["verdict"] == "no_evidence" and "after" not in found
    assert zoo == ["scan"]


def test_wrong_methods_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        remove.main(["--methods", "wish"])
    assert "methods" in capsys.readouterr().err
