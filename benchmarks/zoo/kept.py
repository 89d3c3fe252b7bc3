"""Keeps built models in the repository, and brings them back without training.

`benchmarks/models/<name>.safetensors` holds the weights as the zoo stores them; one
`manifest.json` holds the meta.json of each, class names once a data set. The weights of honest bases
used as they are lie in the shared folder already and are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from auditor.plain import to_plain
from benchmarks.zoo.data import ROOT
from benchmarks.zoo.folders import is_done, write_model
from benchmarks.zoo.recipe import Recipe

MODELS = ROOT / "benchmarks" / "models"
MANIFEST = "manifest.json"
LIMIT_BYTES = 39_500_000
WORTH = {"held_out": 0, "calibration": 1, "opened": 2}  # what is reported on, what thresholds come from, the rest
ABSENT: dict[str, Any] = {"class_names": {}, "models": []}


def read_manifest(kept: Path = MODELS) -> dict[str, Any]:
    """`class_names` by evaluation set and `models`, a row each; both empty when nothing is kept."""
    path = kept / MANIFEST
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else ABSENT
    return found


def keep(recipes: Iterable[Recipe], out: Path, kept: Path = MODELS, *, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """Write what is done in `out` to `kept` and drop what is no recipe any more; returns the names whose weights are kept.

    Rows of recipes that are not done in `out` stay, as long as they match their recipe. Where the
    weights of all would be more than `limit_bytes`, held-out models go first, opened ones last, and
    small ones before large; the others have their row without weights, and are trained anew by `build`.
    """
    kept.mkdir(parents=True, exist_ok=True)
    before = read_manifest(kept)
    old, names, rows = {row["name"]: row for row in before["models"]}, dict(before["class_names"]), []
    for recipe in recipes:
        row = old.get(recipe.name)
        if is_done(recipe, out):
            new = json.loads((out / recipe.name / "meta.json").read_text())
            names[recipe.eval_set] = new.pop("class_names")
            row = row if row is not None and row["sha256"] == new["sha256"] else new
        if row is not None and row["recipe"] == to_plain(recipe.record()):
            rows.append(row)
    weights = {row["name"]: data for row in rows if (data := _weights(row, out, kept)) is not None}
    chosen = _choose(rows, {name: len(data) for name, data in weights.items()}, limit_bytes)
    for path in kept.glob("*.safetensors"):
        path.unlink()
    for row in rows:
        row["file_sha256"] = hashlib.sha256(weights[row["name"]]).hexdigest() if row["name"] in chosen else None
    for name in chosen:
        (kept / f"{name}.safetensors").write_bytes(weights[name])
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in sorted(rows, key=lambda row: str(row["name"])))
    text = f'{{"class_names": {json.dumps(names, sort_keys=True)},\n"models": [\n{lines}\n]}}\n'
    (kept / MANIFEST).write_text(text)
    return chosen


def _weights(row: dict[str, Any], out: Path, kept: Path) -> bytes | None:
    """The safetensors bytes of a row's model; None for a base used as it is, or where they are nowhere to be had."""
    file, model = kept / f"{row['name']}.safetensors", out / row["name"] / "model.pt"
    if not row["recipe"]["schedule"]["epochs"]:
        return None
    if row.get("file_sha256") and file.exists():
        return file.read_bytes()
    return save(torch.load(model, map_location="cpu", weights_only=True)) if model.exists() else None


def _choose(rows: list[dict[str, Any]], sizes: dict[str, int], limit_bytes: int) -> list[str]:
    """The names to keep, in the order of their worth."""
    chosen, total = [], 0
    for row in sorted(rows, key=lambda row: (WORTH[row["split"]], sizes.get(row["name"], 0), row["name"])):
        size = sizes.get(row["name"])
        if size is not None and total + size <= limit_bytes:
            chosen.append(row["name"])
            total += size
    return chosen


def restore(recipe: Recipe, out: Path, kept: Path = MODELS) -> bool:
    """Put a kept model into `out` as `build` would have; False when none is kept for this very row.

    Raises ValueError when the kept bytes are not those of the manifest.
    """
    manifest = read_manifest(kept)
    record = to_plain(recipe.record())
    row = next((dict(row) for row in manifest["models"] if row["recipe"] == record), None)
    if row is None or row["file_sha256"] is None:
        return False
    path = kept / f"{recipe.name}.safetensors"
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row.pop("file_sha256"):
        raise ValueError(
            f"{path} is not the file {MANIFEST} describes: check it out again, or delete its row to retrain"
        )
    write_model(out / recipe.name, load(data), row | {"class_names": manifest["class_names"][recipe.eval_set]})
    return True
