"""The attacks of the zoo by name. One file and one line here add one."""

from __future__ import annotations

from benchmarks.zoo.attacks.adaptive_blend import AdaptiveBlend
from benchmarks.zoo.attacks.all_to_all import AllToAll
from benchmarks.zoo.attacks.attack import Attack
from benchmarks.zoo.attacks.badnets import BadNets
from benchmarks.zoo.attacks.blended import Blended
from benchmarks.zoo.attacks.bpp import Bpp
from benchmarks.zoo.attacks.lf import LowFrequency
from benchmarks.zoo.attacks.sig import Sig
from benchmarks.zoo.attacks.tact import Tact
from benchmarks.zoo.attacks.wanet import WaNet

ATTACKS: dict[str, type[Attack]] = {
    "badnets": BadNets,
    "blended": Blended,
    "sig": Sig,
    "lf": LowFrequency,
    "wanet": WaNet,
    "bpp": Bpp,
    "tact": Tact,
    "adaptive_blend": AdaptiveBlend,
    "all_to_all": AllToAll,
}

__all__ = [
    "ATTACKS", "AdaptiveBlend", "AllToAll", "Attack", "BadNets", "Blended", "Bpp", "LowFrequency", "Sig", "Tact",
    "WaNet",
]  # fmt: skip
