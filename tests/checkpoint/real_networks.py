"""The shared zoo of real checkpoints and its test images, for tests that skip where it is absent."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def zoo() -> list[Path]:
    return sorted([*SHARED.glob("zoo/*/model.pt"), *SHARED.glob("zoo/bases/*/model.pt"), *SHARED.glob("zoo/raw/*.th")])


def normalized_test_images(count: int) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    spec = importlib.util.spec_from_file_location("shared_images", SHARED / "data" / "images.py")
    assert spec and spec.loader
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    x, y, _ = loader.load("cifar10_test", limit=count)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1), y


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """Loads one of our own trusted checkpoints, unwrapped."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    return {key.removeprefix("module."): value for key, value in state.get("state_dict", state).items()}
