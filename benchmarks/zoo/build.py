"""Builds the zoo: one folder a recipe, each written whole or not at all, skipping what is done.

`.zoo/<name>/model.pt` is a state dict written by `torch.save`; `meta.json` says how it was
made and what it measured after rounding. A folder exists only once both files are in it.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.plain import to_plain
from benchmarks.zoo import networks
from benchmarks.zoo.attacks import Attack, from_record
from benchmarks.zoo.data import load_images
from benchmarks.zoo.folders import is_done, write_model
from benchmarks.zoo.kept import restore
from benchmarks.zoo.perturb import MEAN, STD
from benchmarks.zoo.recipe import ZOO, Recipe
from benchmarks.zoo.recipes import RECIPES, twin
from benchmarks.zoo.train import Measured, measure, round_weights, train

MEASURED_IMAGES = 2000
Report = Callable[[str], None]


def select(pattern: str | None, recipes: Iterable[Recipe] = RECIPES) -> list[Recipe]:
    """The recipes whose name holds `pattern`, or matches it as a shell pattern; all without one."""
    return [r for r in recipes if pattern is None or pattern in r.name or fnmatch.fnmatch(r.name, pattern)]


def build(
    recipes: Iterable[Recipe], out: Path, *, device: str = "cpu", kept: Path | None = None,
    report: Report = lambda line: None,
) -> int:  # fmt: skip
    """Build what is not done yet, in order; returns how many were trained.

    A base that is itself of the zoo is built first. With `kept`, a model that this folder holds for
    the same row is taken from it instead.
    """
    built = 0
    for recipe in recipes:
        if is_done(recipe, out):
            report(f"{recipe.name}: done already")
            continue
        if kept is not None and restore(recipe, out, kept):
            report(f"{recipe.name}: restored")
            continue
        if recipe.base.startswith(ZOO):
            built += build(select_base(recipe), out, device=device, kept=kept)
        report(f"{recipe.name}: {summary(build_one(recipe, out, device=device))}")
        built += 1
    return built


def build_apart(recipes: Sequence[Recipe], out: Path, *, jobs: int, **options: Any) -> int:
    """`build` in `jobs` processes of their own, bases before what is fine-tuned from them."""
    first = {base.name: base for recipe in recipes if recipe.base.startswith(ZOO) for base in select_base(recipe)}
    rest = [recipe for recipe in recipes if recipe.name not in first]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads,
                             initargs=(torch.get_num_threads(),)) as pool:  # fmt: skip
        return sum(
            sum(pool.map(functools.partial(_build_alone, out=out, **options), wave)) for wave in (first.values(), rest)
        )


def _build_alone(recipe: Recipe, **options: Any) -> int:
    return build([recipe], **options)


def select_base(recipe: Recipe, recipes: Iterable[Recipe] = RECIPES) -> list[Recipe]:
    """The recipe that a `zoo:` base names. Raises LookupError when there is none."""
    found = [other for other in recipes if other.name == recipe.base.removeprefix(ZOO)]
    if not found:
        raise LookupError(f"{recipe.name} starts from {recipe.base}, which is no recipe")
    return found


def build_one(recipe: Recipe, out: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Train, round, measure and write one recipe; returns its meta.json."""
    started = time.perf_counter()
    begin, evaluation = networks.start(recipe.base, out), load_images(recipe.eval_set, MEASURED_IMAGES)
    classes = len(evaluation.class_names)
    net = begin.network(classes, seed=recipe.seed).to(device)
    base = None if begin.state is None else _measure_base(recipe.base, recipe.eval_set, out, device)
    train(net, load_images(recipe.train_set), recipe.attack, recipe.schedule, seed=recipe.seed, flip=recipe.flip,
          device=device)  # fmt: skip
    rounded = round_weights(net.state_dict())
    reloaded = networks.build(begin.architecture, classes, begin.width, rounded).to(device)
    measured = measure(reloaded, evaluation, recipe.attack, device=device)
    meta = {
        "name": recipe.name, "recipe": to_plain(recipe.record()), "twin": twin(recipe).name, "split": recipe.split,
        "honest": recipe.honest, **_truth(recipe), "base": recipe.initialisation, "seed": recipe.seed,
        "architecture": begin.architecture, "width": begin.width, "class_names": evaluation.class_names,
        "normalization": {"mean": list(MEAN), "std": list(STD)},
        "weights": "float16 but for batch-norm statistics",
        "measured_on": f"{recipe.eval_set}[:{len(evaluation)}], after rounding",
        "base_accuracy": None if base is None else to_plain(base.accuracy), **to_plain(measured),
        "device": device, "torch": torch.__version__, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    write_model(out / recipe.name, rounded, meta)
    return meta


@functools.cache
def _measure_base(base: str, eval_set: str, out: Path, device: str) -> Measured:
    """What a trained base measures before it is touched; once a process, as many recipes share one."""
    begin, evaluation = networks.start(base, out), load_images(eval_set, MEASURED_IMAGES)
    net = begin.network(len(evaluation.class_names), seed=0).to(device)
    return measure(net, evaluation, None, device=device)


def _truth(recipe: Recipe) -> dict[str, Any]:
    """Attack, kind, target and source classes, as a verdict would name them; None where they have no meaning."""
    attack = recipe.attack
    if attack is None:
        return {"attack": None, "kind": None, "target": None, "source_classes": []}
    target = None if attack.kind == "all_to_all" or len(attack.parts) > 1 else attack.target
    return {"attack": attack.name, "kind": attack.kind, "target": target,
            "source_classes": list(getattr(attack, "source_classes", ()))}  # fmt: skip


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
    base = meta["base_accuracy"]
    before = f" (base {base['rate']:.3f})" if base else ""
    rates = [f"accuracy {meta['accuracy']['rate']:.3f}{before}"]
    for key, word in (("attack_success_rate", "ASR"), ("recovered_accuracy", "RA")):
        if meta[key] is not None:
            rates.append(f"{word} {meta[key]['rate']:.3f}")
    return ", ".join([*rates, f"{meta['seconds']:.0f} s"])
