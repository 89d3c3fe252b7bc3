"""The attacks of the zoo by name. One file and one line here add one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.zoo.attacks.adaptive_blend import AdaptiveBlend
from benchmarks.zoo.attacks.all_to_all import AllToAll
from benchmarks.zoo.attacks.attack import Attack
from benchmarks.zoo.attacks.badnets import BadNets
from benchmarks.zoo.attacks.blended import Blended
from benchmarks.zoo.attacks.bpp import Bpp
from benchmarks.zoo.attacks.input_aware import InputAware
from benchmarks.zoo.attacks.label_consistent import LabelConsistent
from benchmarks.zoo.attacks.lf import LowFrequency
from benchmarks.zoo.attacks.sig import Sig
from benchmarks.zoo.attacks.ssba import Ssba
from benchmarks.zoo.attacks.tact import Tact
from benchmarks.zoo.attacks.two_targets import TwoTargets
from benchmarks.zoo.attacks.wanet import WaNet

ATTACKS: dict[str, type[Attack]] = {
    "badnets": BadNets,
    "blended": Blended,
    "sig": Sig,
    "lf": LowFrequency,
    "wanet": WaNet,
    "bpp": Bpp,
    "ssba": Ssba,
    "tact": Tact,
    "adaptive_blend": AdaptiveBlend,
    "all_to_all": AllToAll,
    "input_aware": InputAware,
    "label_consistent": LabelConsistent,
    "two_targets": TwoTargets,
}


def from_record(record: Mapping[str, Any] | None) -> Attack | None:
    """The attack that `Recipe.record` or a meta.json describes; None for an honest model.

    Raises KeyError for an unknown attack and TypeError for unknown parameters.
    """
    if record is None:
        return None
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items() if key != "name"
    }
    return ATTACKS[record["name"]](**values)


__all__ = [
    "ATTACKS", "AdaptiveBlend", "AllToAll", "Attack", "BadNets", "Blended", "Bpp", "InputAware",
    "LabelConsistent", "LowFrequency", "Sig", "Ssba",
    "Tact", "TwoTargets", "WaNet", "from_record",
]  # fmt: skip
