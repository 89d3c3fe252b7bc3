"""What tests of the zoo start from: random images, an attack of each name, and the shared folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.zoo.attacks import ATTACKS, Attack

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
needs_shared = pytest.mark.skipif(not (SHARED / "zoo").is_dir(), reason="the shared folder is absent")


def random_images(count: int = 4, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def example(name: str, **fields: object) -> Attack:
    """An attack with the fields every attack has, and those given."""
    return ATTACKS[name](**{"target": 0, "poison_rate": 0.1} | fields)
