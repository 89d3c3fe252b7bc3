"""The cells of the detection table: one detector on one model with one draw of clean images, and its row.

A row holds what was said, what it cost and the truth, and the evidence of every class, so that a
verdict can be fitted anew from rows alone. The truth is read from meta.json only after the detector is done.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auditor.plain import to_plain
from benchmarks.detect import neural_cleanse
from benchmarks.measuring import stratified
from benchmarks.rows import Row, commit
from benchmarks.zoo.build import load_model
from benchmarks.zoo.data import Images, load_images

AUDITOR, NEURAL_CLEANSE = "auditor", "neural_cleanse"
DETECTORS = (AUDITOR, NEURAL_CLEANSE)
PUBLISHED = "published"  # Neural Cleanse has no profiles
KEY = ("model", "detector", "images", "seed", "profile", "repeat")
HONEST, BACKDOORED = 4, 8
CIFAR_CLEAN, CIFAR_ALL, GTSRB_CLEAN = 400, 1000, 2000
DIGITS = 6
commit_once = functools.cache(commit)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One measurement; `model` is a row of the zoo's manifest. `repeat` tells runs of the same seed apart."""

    model: Row
    detector: str
    images: int
    seed: int
    profile: str
    repeat: int = 0
    device: str = "cpu"
    classes_at_once: int | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells its row from others: the values of KEY."""
        return (self.model["name"], self.detector, self.images, self.seed, self.profile, self.repeat)


def initialisation(model: Mapping[str, Any]) -> str:
    """Which initialisation a model began from: its base, or for one trained from scratch its seed as well."""
    base = str(model["base"])
    return f"{base}#{model['seed']}" if base.startswith("scratch:") else base


def leaks(found: Iterable[tuple[str, str]], held_out: str = "held_out") -> list[str]:
    """Of (initialisation, split) pairs: what the held-out split shares with any other; there must be none."""
    splits: dict[str, set[str]] = {}
    for name, split in found:
        splits.setdefault(name, set()).add(split)
    return sorted(name for name, of_name in splits.items() if held_out in of_name and len(of_name) > 1)


def dozen(models: Sequence[Row]) -> list[Row]:
    """The fixed sample for what is too dear for all: 4 honest and 8 backdoored models, sorted by name.

    Spread over attacks, then bases, then architectures; it depends on nothing but the models' names and truth.
    """
    honest, bad = ([m for m in models if m["honest"] is wanted] for wanted in (True, False))
    return sorted(_spread(honest, HONEST) + _spread(bad, BACKDOORED), key=lambda m: str(m["name"]))


def _spread(models: list[Row], count: int) -> list[Row]:
    taken: list[Row] = []
    while len(taken) < min(count, len(models)):
        rest = [m for m in models if m not in taken]
        taken.append(min(rest, key=lambda m: (*_crowding(m, taken), hashlib.sha256(m["name"].encode()).hexdigest())))
    return taken


def _crowding(model: Row, taken: list[Row]) -> tuple[int, ...]:
    """How many of those taken share its attack, its base and its architecture."""
    keys = (lambda m: m["attack"], initialisation, lambda m: m["architecture"])
    return tuple(sum(key(model) == key(other) for other in taken) for key in keys)


def plan(
    models: Sequence[Row], *, detectors: Sequence[str], images: Sequence[int], seeds: Sequence[int], profile: str,
    repeats: int = 1, **how: Any,
) -> list[Cell]:  # fmt: skip
    """All cells asked for; Neural Cleanse has none without images, which its method needs."""
    return [
        Cell(model=model, detector=detector, images=count, seed=seed, repeat=repeat,
             profile=profile if detector == AUDITOR else PUBLISHED, **how)
        for count in images for repeat in range(repeats) for seed in seeds for model in models for detector in detectors
        if count or detector != NEURAL_CLEANSE
    ]  # fmt: skip


def is_done(cell: Cell, rows: Mapping[tuple[Any, ...], Row]) -> bool:
    """True when the cell has a row of this very model file, in this split, that did not end in an error."""
    row = rows.get(cell.key)
    same = {"model_sha256": cell.model["sha256"], "split": cell.model["split"], "error": None}
    return row is not None and all(row[name] == value for name, value in same.items())


def sample(model: Row, count: int, seed: int) -> Images:
    """`count` clean images for a scan, drawn by seed as evenly over the classes as can be.

    From the first images of its data's test set that the model was not measured on: 400 of CIFAR-10 (1,000 when
    more are wanted), 2,000 of GTSRB. Raises ValueError when its meta.json does not say what it was measured on,
    or it was trained on that set.
    """
    recipe = model["recipe"]
    name = f"{recipe['train_set'].split('_')[0]}_test"
    found = re.match(r"(\w+)\[(\d*):(\d*)\]", str(model["measured_on"]))
    if found is None or recipe["train_set"] == name:
        raise ValueError(f"{model['name']}: no images are known to be unseen by it and by its measurement")
    every = load_images(name)
    free = np.ones(len(every), dtype=bool)
    if found[1] == name:
        free[int(found[2] or 0) : int(found[3] or len(every))] = False
    most = GTSRB_CLEAN if name.startswith("gtsrb") else CIFAR_CLEAN if count <= CIFAR_CLEAN else CIFAR_ALL
    pool = np.flatnonzero(free)[:most]
    index = stratified(every.labels.numpy()[pool], count, seed) if count else np.arange(0)
    return every.take(torch.from_numpy(pool[index]))


def measure(cell: Cell) -> Row:
    """Run one cell; returns its row, with `error` and no score where the detector could not run.

    Raises what `sample` raises: without images there is nothing to run.
    """
    clean = sample(cell.model, cell.images, cell.seed)
    pixels = clean.images.numpy().tobytes() + clean.labels.numpy().tobytes()
    began, worked = time.perf_counter(), cpu_seconds()
    try:
        said = (_auditor if cell.detector == AUDITOR else _neural_cleanse)(cell, clean)
    except Exception as error:  # whatever one model provokes must not end the run of the others
        said = {"error": f"{type(error).__name__}: {error}"}
    seconds, worked = time.perf_counter() - began, cpu_seconds() - worked
    if said.get("error"):
        said["error"] = said["error"].replace(str(Path(cell.model["path"]).parent), cell.model["name"])
    empty: Row = {"label": None, "score": None, "targets": [], "evidence": {}, "error": None, "forward_images": None,
             "backward_images": None}  # fmt: skip
    row = dict(zip(KEY, cell.key, strict=True)) | empty | said | truth(cell.model) | {
        "seconds": seconds, "cpu_seconds": worked, "images_sha256": hashlib.sha256(pixels).hexdigest()[:16],
        "device": cell.device, "torch": torch.__version__, "commit": commit_once(),
    }  # fmt: skip
    plain: Row = to_plain(row)
    return plain


def cpu_seconds() -> float:
    """Processor time of this process and the children it waited for: what a busy machine does not stretch."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def truth(model: Row) -> Row:
    """What is known of a model, for its row; `base` is the initialisation, which intervals cluster by."""
    return {"split": model["split"], "base": initialisation(model), "architecture": model["architecture"],
            "honest": model["honest"], "attack": model["attack"], "kind": model["kind"], "true_target": model["target"],
            "true_sources": model["source_classes"], "classes": len(model["class_names"]),
            "model_sha256": model["sha256"]}  # fmt: skip


def _auditor(cell: Cell, clean: Images) -> Row:
    """A scan through the public library, by path and with nothing told but the images."""
    import auditor

    given = (clean.images.permute(0, 2, 3, 1).contiguous().numpy(), clean.labels.numpy()) if len(clean) else None
    result = auditor.scan(cell.model["path"], clean=given, seed=cell.seed, profile=cell.profile, threads=1,
                          device=cell.device)  # fmt: skip
    plain = to_plain(result)
    verdict, cost, errors = plain["verdict"] or {}, plain["cost"] or {}, plain["errors"]
    calibration = verdict.get("calibration") or {}
    return {
        "label": verdict.get("label"), "score": verdict.get("score"), "targets": verdict.get("target_classes", []),
        "said_kind": verdict.get("kind"), "said_sources": verdict.get("source_classes", []),
        "calibration": calibration | {"last_layer_row_scores": None}, "rows_z": calibration.get("last_layer_row_scores"), "reasons": verdict.get("reasons", []),
        "evidence": by_family(verdict.get("per_class", [])),
        "triggers": [compact(trigger) for trigger in plain["triggers"]], "stages": plain["run"]["seconds"],
        "clean_accuracy": compact(plain["architecture"] or {}).get("clean_accuracy"),
        "forward_images": cost.get("forward_images"), "backward_images": cost.get("backward_images"),
        "exit_code": plain["run"]["exit_code"], "error": f"{errors[0]['kind']}: {errors[0]['what']}" if errors else None,
    }  # fmt: skip


def compact(values: Mapping[str, Any]) -> Row:
    """A result's object without what is empty; a rate as [hits, total], numbers to six digits."""
    found = {key: _short(value) for key, value in values.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _short(value: Any) -> Any:
    if isinstance(value, dict) and {"hits", "total"} <= set(value):
        return [value["hits"], value["total"]]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def by_family(per_class: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Per-class evidence as one list a field and family, in order of class; costs as their natural log."""
    found: dict[str, dict[str, list[Any]]] = {}
    for entry in sorted(per_class, key=lambda e: int(e["target_class"])):
        lists = found.setdefault(str(entry["family"]), {})
        for name, value in entry.items():
            if name == "cost":
                name, value = "log_cost", math.log(value) if value else None
            if name != "family":
                lists.setdefault(name, []).append(_short(value))
    return {family: {name: values for name, values in lists.items() if any(v is not None for v in values)}
            for family, lists in found.items()}  # fmt: skip


def _neural_cleanse(cell: Cell, clean: Images) -> Row:
    """The baseline on the same images; it is told the true normalisation, which the audit infers."""
    from auditor.suspect import Suspect

    torch.set_num_threads(1)
    model = load_model(Path(cell.model["path"]).parent)
    images_NCHW = clean.images.float() / 255
    _, channels, height, width = images_NCHW.shape
    suspect = Suspect(model.net, num_classes=len(model.meta["class_names"]), input_shape=(channels, height, width),
                      mean=tuple(model.meta["normalization"]["mean"]), std=tuple(model.meta["normalization"]["std"]),
                      device=cell.device)  # fmt: skip
    found = neural_cleanse.invert(suspect, images_NCHW, seed=cell.seed, classes_at_once=cell.classes_at_once)
    index_K = neural_cleanse.anomaly_index(found.mask_l1)
    known, targets = bool(np.isfinite(index_K).all()), neural_cleanse.flagged(index_K)
    return {
        "label": "inconclusive" if not known else "backdoored" if targets else "no_evidence",
        "score": float(index_K.max()) if known else None, "targets": targets,
        "evidence": {"mask": {"l1": [_short(float(v)) for v in found.mask_l1], "flipped": found.flipped.tolist(),
                              "succeeded": found.succeeded.tolist(), "anomaly_index": [_short(float(v)) for v in index_K]}},
        "settings": neural_cleanse.Settings(),
        "forward_images": suspect.meter.forward_images, "backward_images": suspect.meter.backward_images,
    }  # fmt: skip
