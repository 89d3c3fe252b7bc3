"""The attacks of the zoo by name. One file and one line here add one."""

from __future__ import annotations

from benchmarks.zoo.attacks.attack import Attack
from benchmarks.zoo.attacks.badnets import BadNets
from benchmarks.zoo.attacks.blended import Blended
from benchmarks.zoo.attacks.lf import LowFrequency
from benchmarks.zoo.attacks.sig import Sig
from benchmarks.zoo.attacks.wanet import WaNet

ATTACKS: dict[str, type[Attack]] = {
    "badnets": BadNets,
    "blended": Blended,
    "lf": LowFrequency,
    "sig": Sig,
    "wanet": WaNet,
}

__all__ = ["ATTACKS", "Attack", "BadNets", "Blended", "LowFrequency", "Sig", "WaNet"]
