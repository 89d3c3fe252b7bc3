"""One folder a model, `model.pt` and `meta.json`: written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from auditor.plain import to_plain
from benchmarks.zoo.recipe import Recipe


def is_done(recipe: Recipe, out: Path) -> bool:
    """True when the model is there and was made from this very row."""
    try:
        stored = json.loads((out / recipe.name / "meta.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(stored.get("recipe") == to_plain(recipe.record()))


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
