"""Real CIFAR-10 checkpoints of the shared zoo, scanned and audited on the command line with 50 clean images.

They are for reporting: nothing is tuned on them. The full searches take minutes and are marked slow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.cli.main import main
from benchmarks import shared_zoo
from benchmarks.measuring import export_suspect, normalization_of

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
IMAGES, SEED = 50, 0
NAMES = ("r20_badnets_t3", "r20_blended_t0", "r20_clean_s1", "r20_wanet_t6", "r32_clean_s2")
FOUND, NO_EVIDENCE, INCONCLUSIVE = 1, 0, 3

pytestmark = pytest.mark.skipif(
    not (SHARED / "zoo" / "zoo.py").is_file() or not (SHARED / "data" / "cifar10_test").is_dir(),
    reason="the shared folder with zoo/ and data/cifar10_test is not beside the project",
)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 images of cifar10_test[:400], five of each class."""
    return shared_zoo.clean_images(tmp_path_factory.mktemp("images") / "clean.npz", IMAGES, SEED)


def checkpoint(name: str) -> Path:
    return SHARED / "zoo" / name / "model.pt"


def scan(capsys: pytest.CaptureFixture[str], name: str, clean: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a scan, and the result that it printed."""
    code = main(["scan", str(checkpoint(name)), "--clean", str(clean), "--seed", str(SEED), "--format", "json", *flags])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, result


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_opens_and_works(name: str, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # When: there is no time for a search
    code, result = scan(capsys, name, clean, "--time-budget", "0.5")
    # Then: the network was recognised and is right on clean images, and nothing is claimed about a backdoor
    assert code == INCONCLUSIVE and result["verdict"]["label"] == "inconclusive"
    architecture = result["architecture"]
    assert architecture["name"] == ("cifar:resnet32" if name.startswith("r32") else "cifar:resnet20")
    assert architecture["normalization_how"] == "inferred"  # of 50 images, cifar10 and imagenet may look alike
    assert architecture["normalization"]["mean"][0] in (0.485, 0.4914)
    assert architecture["clean_accuracy"]["rate"] > 0.8


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "target"), [("r20_badnets_t3", 3), ("r20_blended_t0", 0)])
def test_a_backdoor_is_found_with_its_class(
    name: str, target: int, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = scan(capsys, name, clean)
    verdict = result["verdict"]
    assert (code, verdict["label"], verdict["target_classes"]) == (FOUND, "backdoored", [target])
    assert all(trigger["target_class"] == target for trigger in result["triggers"] if trigger["confirmed"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["r20_clean_s1", "r32_clean_s2"])
def test_an_honest_model_shows_no_evidence(name: str, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = scan(capsys, name, clean)
    assert (code, result["verdict"]["label"], result["verdict"]["target_classes"]) == (NO_EVIDENCE, "no_evidence", [])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_said_of_wanet_is_reported(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The standard profile searches no warps, so no verdict is asked for: only that there is one, with its limits."""
    code, result = scan(capsys, "r20_wanet_t6", clean)
    verdict = result["verdict"]
    with capsys.disabled():
        print(f"\nr20_wanet_t6: {verdict['label']} {verdict['target_classes']}, score {verdict['score']} (true target 6)")
    assert code == {"backdoored": FOUND, "no_evidence": NO_EVIDENCE, "inconclusive": INCONCLUSIVE}[verdict["label"]]
    assert result["limits"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_sanitized_model_withstands_the_true_trigger(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given: an audit that never saw the true trigger
    name = "r20_badnets_t3"
    code = main(["audit", str(checkpoint(name)), "--clean", str(clean), "--seed", str(SEED), "-o", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    # When: the exported models answer images that the audit did not see, cifar10_test[400:]
    zoo = shared_zoo.shared_zoo()
    trial = shared_zoo.held_out(zoo, next(m for m in zoo.models() if m["name"] == name))
    mean, std = normalization_of(json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8")))
    export_suspect(checkpoint(name), tmp_path / "before.onnx", clean=str(clean))
    before = trial.measure(tmp_path / "before.onnx", mean, std)
    after = trial.measure(tmp_path / "run" / "sanitized.onnx", mean, std)
    # Then
    assert before["attack_success_rate"].hits > 0.95 * before["attack_success_rate"].total
    assert after["attack_success_rate"].hits <= 0.10 * after["attack_success_rate"].total
    assert before["accuracy"].hits - after["accuracy"].hits <= 0.03 * after["accuracy"].total
