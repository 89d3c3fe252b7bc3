"""Makes run folders of the shape the pipeline writes, for the report to render.

Every picture and number is drawn from a seed; nothing here is measured on a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.domain import (
    Architecture,
    Artifact,
    Attempt,
    Attention,
    AuditResult,
    Change,
    Check,
    ClassEvidence,
    Cost,
    ErrorRecord,
    Export,
    FileSafety,
    Finding,
    ImageSet,
    Interval,
    Normalization,
    Rate,
    Run,
    TarMeasurement,
    Tool,
    TriggerFinding,
    Unlearning,
    Verdict,
    Verification,
)  # fmt: skip
from auditor.plain import to_json

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TARGET = 3
SHA = "9f2c4b7a1e05d3868c41f7b2a9e6d0134b58c7ef2a6d9013845ce7fb21a0d9c4"
LOW_COST = 5.2


def rate(hits: int, total: int) -> Rate:
    """A rate with its Wilson interval, computed here so that the fixture imports no measuring code."""
    if total == 0:
        return Rate(hits=0, total=0, rate=None, low=0.0, high=1.0)
    p, zz = hits / total, 1.96**2
    centre, half = p + zz / (2 * total), 1.96 * (p * (1 - p) / total + zz / (4 * total * total)) ** 0.5
    low, high = (centre - half) / (1 + zz / total), (centre + half) / (1 + zz / total)
    return Rate(hits=hits, total=total, rate=p, low=max(0.0, low), high=min(1.0, high))


def interval(mean: float, spread: float, count: int = 21) -> Interval:
    return Interval(mean=mean, low=max(0.0, mean - spread), high=mean + spread, count=count)


def tar(energy: float) -> TarMeasurement:
    return TarMeasurement(
        energy=interval(energy, 0.05), ratio=interval(energy * 41, 2.1), lift=interval(energy * 35, 1.7),
        normalized=interval(energy * 1.2, 0.06), random_mask=interval(0.031, 0.012),
        clean_images=interval(0.024, 0.01), coverage=0.952,
    )  # fmt: skip


def per_class(seed: int, *, target_cost: float | None, num_classes: int = 10) -> list[ClassEvidence]:
    random = np.random.default_rng(seed)
    found = []
    for family, typical in (("patch", 74.0), ("additive", 3.1)):
        for c in range(num_classes):
            cost = float(typical * np.exp(random.normal(0, 0.22)))
            is_target = c == TARGET and target_cost is not None
            if is_target and target_cost is not None:
                cost = target_cost if family == "patch" else 1.5
            none_found = family == "additive" and c == 8
            found.append(
                ClassEvidence(
                    target_class=c, family=family, cost=None if none_found else cost,
                    attack_success_rate=0.42 if none_found else 0.97,
                    anomaly_index=4.6 if is_target and family == "patch" else float(random.uniform(-1.2, 1.4)),
                    p_value=0.0004 if is_target else float(random.uniform(0.2, 1.0)),
                )
            )  # fmt: skip
    return found


def badnets(**changes: Any) -> AuditResult:
    """A 10-class run: a corner patch toward class 3, found, unlearned, verified, exported."""
    parts: dict[str, Any] = dict(  # noqa: C408 - reads as the call it stands for
        schema_version="1.0",
        tool=Tool(name="auditor", version="0.1.0", python="3.11.9", torch="2.15.0", platform="Linux x86_64"),
        run=Run(
            argv=["auditor", "audit", "models/suspect.pt", "--clean", "images", "-o", "runs/demo"], seed=0,
            device="cpu", dtype="float32", threads=1, profile="standard", started="2026-11-20T10:12:45Z",
            seconds={"open": 2.4, "images": 0.6, "search": 148.2, "verdict": 12.9, "attention": 1.8,
                     "unlearn": 41.7, "verify": 96.0, "export": 6.3}, exit_code=0,
        ),
        artifact=Artifact(path="models/suspect.pt", bytes=1_112_489, sha256=SHA, format="torch zip"),
        file_safety=FileSafety(
            status="findings", tensors=112, stubbed=["argparse.Namespace"],
            findings=[Finding(severity="warning", kind="unknown_global",
                              message="The pickle names argparse.Namespace; an inert stub stands in for it."),
                      Finding(severity="info", kind="training_state", message="An optimizer state was skipped.")],
        ),
        architecture=Architecture(
            name="cifar:resnet20", how="inferred", num_classes=10, input_shape=[3, 32, 32],
            normalization=Normalization(mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616]),
            normalization_how="inferred", clean_accuracy=rate(64, 70), parameters=272_474,
        ),
        images=ImageSet(path="images", count=100, labelled=True, sha256="41d7" + SHA[4:], work=70, verify=30,
                        class_names=CLASSES, notices=[]),
        verdict=Verdict(
            label="backdoored", score=0.97, kind="all_to_one", target_classes=[TARGET],
            reasons=["A patch trigger toward class 3 costs 5.2, against a median of 74 over the other classes.",
                     "It flips 27 of 27 images that the search had not seen.",
                     "A minute of unlearning removes it, and it does not come back: injected, not natural."],
            per_class=per_class(1, target_cost=LOW_COST),
            untested=["Warping triggers: the time budget ran out", "All-to-all mappings"],
        ),
        triggers=[
            TriggerFinding(target_class=TARGET, family="patch", cost=LOW_COST, attack_success_rate=rate(27, 27),
                           confirmed=True, anomaly_index=4.6, evidence="evidence/trigger_0.npz", mask_area=0.0088),
            TriggerFinding(target_class=TARGET, family="additive", cost=1.5, attack_success_rate=rate(24, 27),
                           confirmed=True, anomaly_index=3.1, evidence="evidence/trigger_1.npz"),
        ],
        attention=Attention(layer="layer3.2.conv2", layer_rule="last convolution with at least 8 by 8 cells",
                            meaningful=True, mask_area=0.0088, before=tar(0.412), after=tar(0.028),
                            panels="evidence/attention.npz"),
        unlearning=Unlearning(
            method="prune", parameters={"accuracy_budget": 0.03, "rounds": 40, "learning_rate": 0.001, "epochs": 12},
            tried=[Attempt(method="edit", parameters={"gamma": 2.0}, seconds=4.2, accepted=False,
                           reason="the trigger still works on 11 of 63 images", clean_accuracy=rate(63, 70),
                           proxy_attack_success_rate=rate(11, 63), parameters_changed=640),
                   Attempt(method="prune", parameters={"rounds": 40}, seconds=37.5, accepted=True,
                           reason="best trade of accuracy for removal", clean_accuracy=rate(64, 70),
                           proxy_attack_success_rate=rate(1, 63), parameters_changed=271_034)],
        ),
        verification=Verification(
            basis="held_out",
            clean_accuracy=Change(before=rate(27, 30), after=rate(27, 30)),
            attack_success_rate=Change(before=rate(27, 27), after=rate(1, 27)),
            recovered_accuracy=Change(before=rate(0, 27), after=rate(23, 27)),
            tar={"before": interval(0.412, 0.05), "after": interval(0.028, 0.01)},
            verdict="no_evidence",
            checks=[Check(name="triggers_dead", passed=True, measured="1 of 27 (3.7 %)", allowed="at most 10 %"),
                    Check(name="accuracy_kept", passed=True, measured="1 newly wrong, 1 newly right",
                          allowed="net at most 1"),
                    Check(name="fresh_search", passed=True, measured="cheapest toward class 3: 71.3",
                          allowed="at least 36.8 (half the median)"),
                    Check(name="onnx_parity", passed=True, measured="57 of 57 equal, 2.1e-06", allowed="all, 1e-3")],
            fresh_search=per_class(7, target_cost=None), passed=True,
        ),
        exports=[
            Export(path="sanitized.onnx", format="onnx", bytes=1_098_231, sha256="77ab" + SHA[4:],
                   max_abs_logit_difference=2.1e-06, argmax_agreement=rate(57, 57)),
            Export(path="sanitized.safetensors", format="safetensors", bytes=1_106_544, sha256="0c55" + SHA[4:]),
        ],
        cost=Cost(seconds=309.9, forward_images=214_310, backward_images=171_020, flops=26_400_000_000_000,
                  peak_memory_bytes=1_310_000_000),
        limits=["30 verification images: a trigger that works on 1 in 10 of all images could show on none of them."],
        reproduce="auditor audit models/suspect.pt --clean images -o runs/demo --seed 0 --device cpu --threads 1",
    )  # fmt: skip
    return AuditResult(**{**parts, **changes})


def stopped(exit_code: int, error: ErrorRecord) -> AuditResult:
    """A run that ended before any part was reached."""
    complete = badnets()
    run = Run(argv=complete.run.argv, seed=0, device="cpu", dtype="float32", threads=1, profile="standard",
              started=complete.run.started, exit_code=exit_code)  # fmt: skip
    return AuditResult(
        schema_version="1.0", tool=complete.tool, run=run,
        artifact=complete.artifact if exit_code != 2 else None, errors=[error],
    )  # fmt: skip


def photos(n: int, size: int = 32, seed: int = 3) -> NDArray[np.uint8]:
    """Small colourful scenes (n, size, size, 3): sky, ground and one object."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    scenes = []
    for _ in range(n):
        sky, ground, thing = random.uniform(40, 235, (3, 3))
        horizon = random.uniform(0.5, 0.8)
        scene = np.where(
            (y < horizon)[..., None], sky * (0.75 + 0.25 * y[..., None]), ground * (0.8 + 0.2 * x[..., None])
        )
        cx, cy, r = random.uniform(0.3, 0.7), random.uniform(0.35, 0.65), random.uniform(0.14, 0.25)
        inside = ((x - cx) / 1.5) ** 2 + (y - cy) ** 2 < r**2
        scene[inside] = thing
        scenes.append(scene + random.normal(0, 7, scene.shape))
    return np.clip(np.stack(scenes), 0, 255).astype(np.uint8)


def _blob(size: int, cy: float, cx: float, width: float) -> NDArray[np.float32]:
    y, x = np.mgrid[0:size, 0:size]
    return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2)).astype(np.float32)


def write_evidence(folder: Path, size: int = 32) -> None:
    """The .npz files that `badnets()` names."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    mask = np.zeros((size, size), dtype=np.float32)
    mask[-4:-1, -4:-1] = 0.96
    mask[-6, -3] = 0.2
    pattern = random.random((3, size, size)).astype(np.float32) * 0.3
    checks = np.indices((3, 3)).sum(axis=0) % 2
    pattern[:, -4:-1, -4:-1] = checks
    np.savez_compressed(
        folder / "trigger_0.npz", family=np.array("patch"), target_class=np.array(TARGET),
        source_classes=np.array([], dtype=np.int64), parameter_mask=mask, parameter_pattern=pattern,
    )  # fmt: skip
    wave = 0.06 * np.sin(np.arange(size) / 2.2)[None, None, :] + random.normal(0, 0.02, (3, size, size))
    np.savez_compressed(
        folder / "trigger_1.npz", family=np.array("additive"), target_class=np.array(TARGET),
        source_classes=np.array([], dtype=np.int64), parameter_delta=wave.astype(np.float32),
    )  # fmt: skip
    clean = photos(6, size)
    patched = clean + mask[None, :, :, None] * (255 * np.moveaxis(pattern, 0, -1)[None] - clean)
    waved = np.clip(clean + 255 * np.moveaxis(wave, 0, -1)[None], 0, 255)
    true = np.array([0, 9, 5, 8, 6, 2])
    for i, triggered in enumerate((patched, waved)):
        np.savez_compressed(
            folder / f"stamped_{i}.npz", clean=clean, triggered=triggered.astype(np.uint8), true=true,
            predicted_clean=np.array([0, 9, 5, 8, 6, 4]), predicted_triggered=np.full(6, TARGET),
            predicted_sanitized=np.array([0, 9, 5, 8, 6, 4]), support=mask > 0.5,
        )  # fmt: skip
    before = np.stack([_blob(size, size - 3, size - 3, 4.5)] * 4)
    after = np.stack([_blob(size, 14 + i, 15 - i, 6.5) for i in range(4)])
    np.savez_compressed(
        folder / "attention.npz", images=patched[:4].astype(np.uint8), before=before, after=after, support=mask > 0.5,
        true=true[:4], predicted_before=np.full(4, TARGET), predicted_after=np.array([0, 9, 5, 8]),
    )  # fmt: skip


def write_frames(folder: Path, size: int = 32) -> None:
    """The images that unlearning was watched on, and heat-maps that move away from the corner in 13 steps."""
    watched = photos(4, size)
    support = np.zeros((size, size), dtype=bool)
    support[-4:-1, -4:-1] = True
    np.savez_compressed(folder / "watched.npz", images=watched, support=support)
    (folder / "frames").mkdir(exist_ok=True)
    for step in range(13):
        far = max(0.0, 1 - step / 4)
        heat = np.stack([_blob(size, 14 + i + far * (size - 18 - i), 15 - i + far * (size - 19 + i), 5) for i in range(4)])
        np.savez_compressed(folder / "frames" / f"{step}.npz", picture=np.rint(255 * heat).astype(np.uint8))


def write_events(path: Path) -> None:
    """Search and unlearning steps as `events.jsonl` holds them."""
    lines: list[dict[str, Any]] = []
    for family, typical in (("patch", 74.0), ("additive", 3.1)):
        for step in range(0, 121, 10):
            shrink = 1 + 3 * np.exp(-step / 40)
            costs = [typical * (1 + 0.04 * c) * shrink for c in range(10)]
            costs[TARGET] = typical * shrink * (0.07 + 0.9 * np.exp(-step / 18))
            lines.append({"event": "SearchStep", "family": family, "step": step, "steps": 120,
                          "classes": list(range(10)), "loss": [0.1] * 10, "attack_success_rate": [0.9] * 10,
                          "cost": [None if step == 0 else round(float(c), 4) for c in costs]})  # fmt: skip
    lines.append({"event": "VerdictReached"})
    for method, floor in (("edit", 0.17), ("prune", 0.016)):
        lines.extend(
            {"event": "UnlearnStep", "method": method, "step": step, "steps": 12, "tar": 0.4 / (1 + step),
             "tar_random": 0.03 - 0.001 * step % 3, "clean_accuracy": 0.914 - 0.01 * np.sin(step),
             "proxy_attack_success_rate": floor + (1 - floor) * np.exp(-0.6 * step),
             "losses": {} if method == "edit" else {"clean": 0.3 + 0.02 * step, "stamped": 4 / (1 + step)},
             "heat_maps": f"evidence/frames/{step}.npz"}
            for step in range(13)
        )  # fmt: skip
        lines.append({"event": "AttemptFinished", "method": method, "accepted": method == "prune", "reason": ""})
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")


def write_run(folder: Path, result: AuditResult | None = None, *, evidence: bool = True) -> Path:
    """A run folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(to_json(result or badnets()), encoding="utf-8")
    if evidence:
        write_evidence(folder / "evidence")
        write_frames(folder / "evidence")
        write_events(folder / "events.jsonl")
    return folder
