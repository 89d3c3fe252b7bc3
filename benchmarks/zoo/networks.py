"""The networks of the zoo: an honest base, or an untrained one, from the families `auditor` knows.

A recipe's `base` is the name of a folder in the shared `zoo/bases`, `zoo:<name>` for a model of
the zoo itself, or `scratch:<name>` or `scratch:<name>:<width>`, such as `scratch:resnet20` or
`scratch:preact_resnet18:16`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from auditor.checkpoint.nets import create
from benchmarks.zoo.data import load_base, load_built
from benchmarks.zoo.recipe import ZOO

SCRATCH = "scratch:"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training starts: a network's name (`cifar:` and the family's name), its width (0: usual) and weights.

    `state` is None for an untrained network.
    """

    architecture: str
    width: int
    state: dict[str, Tensor] | None

    def network(self, num_classes: int, *, seed: int) -> nn.Module:
        """The network to train: with the base's weights, or fresh ones drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(self.architecture, num_classes, self.width, self.state)


def start(base: str, out: Path) -> Start:
    """What `base` names; models of the zoo are looked for in `out`.

    Raises FileNotFoundError when it is not there.
    """
    if base.startswith(SCRATCH):
        name, _, width = base.removeprefix(SCRATCH).partition(":")
        return Start(architecture=f"cifar:{name}", width=int(width or 0), state=None)
    state, meta = load_built(out / base.removeprefix(ZOO)) if base.startswith(ZOO) else load_base(base)
    return Start(architecture=meta["architecture"], width=meta.get("width") or 0, state=state)


def build(architecture: str, num_classes: int, width: int, state: dict[str, Tensor] | None) -> nn.Module:
    """The network in evaluation mode, with `state` (any floating width) as float32 if there is one."""
    net = create(architecture.removeprefix("cifar:"), num_classes, 3, width)
    if state is not None:
        net.load_state_dict(state)
    return net.eval()
