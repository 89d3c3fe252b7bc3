"""What the end-to-end tests run on: the planted network as files, and the command line in this process.

The network is that of `planted`: 16 x 16 images of six classes, a red corner toward class 4.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import planted
import torch

from auditor.cli.main import main
from auditor.events import Event
from auditor.suspect import Suspect
from auditor.unlearn.method import Task, step_event

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
FACTORY = "from planted import PlantedNet\n\n\ndef make():\n    return PlantedNet(0.0)\n"


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The object printed with --format json; fails when stdout is anything else."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


def auditor(*arguments: object) -> Outcome:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Files:
    """A folder with `suspect.pt`, its twin `honest.pt`, `clean.npz` and the factory of the network."""

    folder: Path

    @property
    def suspect(self) -> Path:
        return self.folder / "suspect.pt"

    @property
    def honest(self) -> Path:
        return self.folder / "honest.pt"

    @property
    def clean(self) -> Path:
        return self.folder / "clean.npz"

    @property
    def network(self) -> list[str]:
        """The flags that say what the network is and how it is run."""
        return ["--factory", f"{self.folder / 'factory.py'}:make", "--allow-code", "--input-size", "16",
                "--normalize", "none", "--device", "cpu"]  # fmt: skip

    @property
    def flags(self) -> list[str]:
        """What every audit of these files takes."""
        return [*self.network, "--profile", "quick", "--clean", str(self.clean)]


def write_files(folder: Path) -> Files:
    """The planted network, its honest twin and 60 images, as a user has them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(planted.planted().module.state_dict(), folder / "suspect.pt")
    torch.save(planted.planted(0.0).module.state_dict(), folder / "honest.pt")
    (folder / "factory.py").write_text(FACTORY, encoding="utf-8")
    write_images(folder / "clean.npz", 60)
    return Files(folder)


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """A method that knows the honest twin: what follows unlearning is tested whatever the real ones reach."""

    name: str = "oracle"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        model = task.suspect.with_module(planted.PlantedNet(0.0))
        for step in (1, 2):
            yield step_event(self.name, step, 2, task.monitor(model), {}, 0)
            if task.control.stop_requested:
                break
        return model


def write_images(path: Path, count: int, **arrays: Any) -> Path:
    """An .npz of `count` planted images (uint8 NHWC) and their labels; `arrays` replace or add."""
    images, labels = planted.planted_images(count)
    x = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(path, **{"x": x, "y": labels.numpy(), **arrays})
    return path


def tree(path: Path) -> Sequence[str]:
    """Every file below a folder, by its path relative to it; empty when the folder is not there."""
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()) if path.exists() else []
