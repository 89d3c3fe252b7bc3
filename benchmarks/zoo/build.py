"""Builds the zoo: one folder a recipe, each written whole or not at all, skipping what is done.

`.zoo/<name>/model.pt` is a state dict written by `torch.save`; `meta.json` says how it was
made and what it measured after rounding. A folder exists only once both files are in it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.domain import to_plain
from benchmarks.zoo import networks
from benchmarks.zoo.attacks import Attack, from_record
from benchmarks.zoo.data import load_images
from benchmarks.zoo.recipes import RECIPES, Recipe, twin
from benchmarks.zoo.train import MEAN, STD, measure, round_weights, train

MEASURED_IMAGES = 2000
Report = Callable[[str], None]


def select(pattern: str | None, recipes: Iterable[Recipe] = RECIPES) -> list[Recipe]:
    """The recipes whose name holds `pattern`, or matches it as a shell pattern; all without one."""
    return [r for r in recipes if pattern is None or pattern in r.name or fnmatch.fnmatch(r.name, pattern)]


def is_done(recipe: Recipe, out: Path) -> bool:
    """True when the model is there and was made from this very row."""
    try:
        stored = json.loads((out / recipe.name / "meta.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(stored.get("recipe") == to_plain(recipe.record()))


def build(recipes: Iterable[Recipe], out: Path, *, device: str = "cpu", report: Report = lambda line: None) -> int:
    """Build what is not done yet, in order; returns how many were built."""
    built = 0
    for recipe in recipes:
        if is_done(recipe, out):
            report(f"{recipe.name}: done already")
            continue
        meta = build_one(recipe, out, device=device)
        report(f"{recipe.name}: {summary(meta)}")
        built += 1
    return built


def build_one(recipe: Recipe, out: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Train, round, measure and write one recipe; returns its meta.json."""
    started = time.perf_counter()
    begin, evaluation = networks.start(recipe.base), load_images(recipe.eval_set, MEASURED_IMAGES)
    classes = len(evaluation.class_names)
    net = begin.network(classes, seed=recipe.seed).to(device)
    base = measure(net, evaluation, None, device=device)
    train(net, load_images(recipe.train_set), recipe.attack, recipe.schedule, seed=recipe.seed, flip=recipe.flip,
          device=device)  # fmt: skip
    rounded = round_weights(net.state_dict())
    reloaded = networks.build(begin.architecture, classes, begin.width, rounded).to(device)
    measured = measure(reloaded, evaluation, recipe.attack, device=device)
    meta = {
        "name": recipe.name, "recipe": to_plain(recipe.record()), "twin": twin(recipe).name, "split": recipe.split,
        "honest": recipe.honest, **_truth(recipe), "base": recipe.base, "seed": recipe.seed,
        "architecture": begin.architecture, "width": begin.width, "class_names": evaluation.class_names,
        "normalization": {"mean": list(MEAN), "std": list(STD)},
        "weights": "float16 but for batch-norm statistics",
        "measured_on": f"{recipe.eval_set}[:{len(evaluation)}], after rounding",
        "base_accuracy": to_plain(base.accuracy), **to_plain(measured),
        "device": device, "torch": torch.__version__, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    write_model(out / recipe.name, rounded, meta)
    return meta


def _truth(recipe: Recipe) -> dict[str, Any]:
    """Attack, kind, target and source classes, as a verdict would name them; None where they have no meaning."""
    attack = recipe.attack
    if attack is None:
        return {"attack": None, "kind": None, "target": None, "source_classes": []}
    target = None if attack.kind == "all_to_all" else attack.target
    return {"attack": attack.name, "kind": attack.kind, "target": target,
            "source_classes": list(getattr(attack, "source_classes", ()))}  # fmt: skip


def write_model(folder: Path, state: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Put `model.pt` and `meta.json` (with the model's sha256) at `folder` in one rename."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    torch.save(state, part / "model.pt")
    digest = hashlib.sha256((part / "model.pt").read_bytes()).hexdigest()
    (part / "meta.json").write_text(json.dumps({**meta, "sha256": digest}, indent=1, allow_nan=False) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model of the zoo: its network (float32, evaluation mode), the true attack or None, and its meta.json."""

    net: nn.Module
    attack: Attack | None
    meta: dict[str, Any]


def load_model(folder: Path) -> Model:
    """Read a model that `build` wrote.

    Raises FileNotFoundError when it is not there and ValueError when its bytes are not those of its meta.json.
    """
    meta = json.loads((folder / "meta.json").read_text())
    if hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest() != meta["sha256"]:
        raise ValueError(f"{folder / 'model.pt'} is not the file meta.json describes: delete the folder, rebuild")
    state = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
    net = networks.build(meta["architecture"], len(meta["class_names"]), meta["width"] or 0, state)
    return Model(net=net, attack=from_record(meta["recipe"]["attack"]), meta=meta)


def manifest(out: Path) -> list[dict[str, Any]]:
    """The meta.json of every model that is done, sorted by name, each with its `path`."""
    rows = ((path, json.loads(path.read_text())) for path in sorted(out.glob("[!.]*/meta.json")))
    return [row | {"path": str(path.parent / "model.pt")} for path, row in rows]


def summary(meta: dict[str, Any]) -> str:
    """One line: accuracy against the base's, ASR and RA, seconds."""
    rates = [f"accuracy {meta['accuracy']['rate']:.3f} (base {meta['base_accuracy']['rate']:.3f})"]
    for key, word in (("attack_success_rate", "ASR"), ("recovered_accuracy", "RA")):
        if meta[key] is not None:
            rates.append(f"{word} {meta[key]['rate']:.3f}")
    return ", ".join([*rates, f"{meta['seconds']:.0f} s"])
