"""Keeps built models in the repository, and brings them back without training.

`benchmarks/models/<name>.safetensors` holds the weights as the zoo stores them; one
`manifest.json` holds the meta.json of each, class names once a data set. Honest bases used as they
are lie in the shared folder already and are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from auditor.domain import to_plain
from benchmarks.zoo.data import ROOT
from benchmarks.zoo.folders import is_done, write_model
from benchmarks.zoo.recipe import Recipe

MODELS = ROOT / "benchmarks" / "models"
MANIFEST = "manifest.json"
ABSENT: dict[str, Any] = {"class_names": {}, "models": []}


def read_manifest(kept: Path = MODELS) -> dict[str, Any]:
    """`class_names` by evaluation set and `models`, a row each; both empty when nothing is kept."""
    path = kept / MANIFEST
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else ABSENT
    return found


def keep(recipes: Iterable[Recipe], out: Path, kept: Path = MODELS) -> list[str]:
    """Write what is done in `out` to `kept` and drop what is no recipe any more; returns the names written.

    Rows of recipes that are not done in `out` stay, as long as they match their recipe.
    """
    kept.mkdir(parents=True, exist_ok=True)
    before = read_manifest(kept)
    old = {row["name"]: row for row in before["models"]}
    names, rows, written = dict(before["class_names"]), [], []
    for recipe in recipes:
        row = old.get(recipe.name)
        if recipe.schedule.epochs and is_done(recipe, out):
            meta = json.loads((out / recipe.name / "meta.json").read_text())
            names[recipe.eval_set] = meta.pop("class_names")
            if row is None or row["sha256"] != meta["sha256"]:
                row = meta | {
                    "file_sha256": _write(out / recipe.name / "model.pt", kept / f"{recipe.name}.safetensors")
                }
                written.append(recipe.name)
        if row is not None and row["recipe"] == to_plain(recipe.record()):
            rows.append(row)
    _drop(kept, {row["name"] for row in rows})
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in sorted(rows, key=lambda row: str(row["name"])))
    text = f'{{"class_names": {json.dumps(names, sort_keys=True)},\n"models": [\n{lines}\n]}}\n'
    (kept / MANIFEST).write_text(text)
    return written


def _write(model: Path, path: Path) -> str:
    data = save(torch.load(model, map_location="cpu", weights_only=True))
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _drop(kept: Path, names: set[str]) -> None:
    for path in kept.glob("*.safetensors"):
        if path.stem not in names:
            path.unlink()


def restore(recipe: Recipe, out: Path, kept: Path = MODELS) -> bool:
    """Put a kept model into `out` as `build` would have; False when none is kept for this very row.

    Raises ValueError when the kept bytes are not those of the manifest.
    """
    manifest = read_manifest(kept)
    record = to_plain(recipe.record())
    row = next((dict(row) for row in manifest["models"] if row["recipe"] == record), None)
    if row is None:
        return False
    path = kept / f"{recipe.name}.safetensors"
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row.pop("file_sha256"):
        raise ValueError(
            f"{path} is not the file {MANIFEST} describes: check it out again, or delete its row to retrain"
        )
    write_model(out / recipe.name, load(data), row | {"class_names": manifest["class_names"][recipe.eval_set]})
    return True
