"""What a row of the zoo is.

Names begin with the initialisation they descend from, `<network>_s<seed>`: two models that share
it share an initialisation, and no initialisation is in both splits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.zoo.attacks import Attack
from benchmarks.zoo.schedules import AS_IS
from benchmarks.zoo.train import Schedule

Split = Literal["calibration", "opened", "held_out"]
ZOO = "zoo:"
GTSRB: dict[str, Any] = {"train_set": "gtsrb_train", "eval_set": "gtsrb_test", "flip": False}
RESERVED = ("bpp", "input_aware", "label_consistent", "wide_resnet", "mobilenet")  # attacks and networks never fitted on


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model: `attack` None makes it honest.

    `split` is `calibration` (tune on it), `held_out` (report on it), or `opened`: held out once,
    and fitted on since, but for what is RESERVED.

    `base` is a folder of the shared bases, `zoo:<name>` for another model of the zoo, or
    `scratch:<network>:<width>` for an untrained network drawn from `seed`.
    """

    name: str
    base: str
    attack: Attack | None
    schedule: Schedule
    seed: int = 0
    split: Split = "calibration"
    train_set: str = "cifar10_train"
    eval_set: str = "cifar10_val"
    flip: bool = True

    @property
    def honest(self) -> bool:
        """True when nothing is poisoned."""
        return self.attack is None

    @property
    def initialisation(self) -> str:
        """The random initialisation it descends from, such as `r20_s101`."""
        return "_".join(self.name.split("_")[:2])

    def twin_key(self) -> tuple[Any, ...]:
        """What an honest twin shares with its backdoored recipe."""
        return self.base, self.schedule, self.seed, self.split, self.train_set, self.eval_set, self.flip

    def record(self) -> dict[str, Any]:
        """The row as JSON-ready values; the attack with its name."""
        attack = None if self.attack is None else {"name": self.attack.name} | asdict(self.attack)
        return asdict(self) | {"attack": attack}


def row(base: str, attack: Attack | None, schedule: Schedule, tag: str = "", **fields: Any) -> Recipe:
    """A recipe named after its base, attack, target and `tag`."""
    what = "honest" if attack is None else attack.name
    goal = "" if attack is None or attack.kind == "all_to_all" else f"t{attack.target}"
    name = "_".join(part for part in (base.removeprefix(ZOO), what, goal, tag) if part)
    return Recipe(name=name, base=base, attack=attack, schedule=schedule, **fields)


def scratch(name: str, network: str, schedule: Schedule, attack: Attack | None = None, **fields: Any) -> Recipe:
    """A recipe of an untrained network drawn from the seed in its name, `<network>_s<seed>`."""
    seed = int(name.split("_s")[1].split("_")[0])
    return Recipe(name=name, base=f"scratch:{network}", attack=attack, schedule=schedule, seed=seed, **fields)


def as_is(base: str, **fields: Any) -> Recipe:
    """An honest base with nothing done to it."""
    return Recipe(name=f"{base}_as_is", base=base, attack=None, schedule=AS_IS, **fields)


def reserved(attack: str | None, network: str) -> bool:
    """Whether no bank may be fitted on models with this attack (None: honest) or network."""
    return attack in RESERVED or any(name in network for name in RESERVED)
