"""What the zoo holds: one plain row a model.

Rows name a base and what is done to it. The honest twin of a backdoored recipe has the same
base, schedule and seed, so the two differ in nothing but the poison.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.zoo.attacks import AllToAll, Attack, BadNets, Blended, LowFrequency, Sig, Tact, WaNet
from benchmarks.zoo.train import Schedule

RED, YELLOW, BLUE, MAGENTA = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.1, 0.2, 1.0), (1.0, 0.0, 1.0)
QUICK = Schedule(images=16384, epochs=1, lr=0.04)
TUNE = Schedule(images=24576, epochs=1, lr=0.02)
WARM = Schedule(images=24576, epochs=1, lr=0.06, warmup=0.1)
LONG = Schedule(images=24576, epochs=2, lr=0.05, warmup=0.1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model: `attack` None makes it honest. `split` is `dev` (tune on it) or `held_out` (report on it)."""

    name: str
    base: str
    attack: Attack | None
    schedule: Schedule = TUNE
    seed: int = 0
    split: str = "dev"
    train_set: str = "cifar10_train"
    eval_set: str = "cifar10_val"
    flip: bool = True

    @property
    def honest(self) -> bool:
        """True when nothing is poisoned."""
        return self.attack is None

    def twin_key(self) -> tuple[Any, ...]:
        """What an honest twin shares with its backdoored recipe."""
        return self.base, self.schedule, self.seed, self.split, self.train_set, self.eval_set, self.flip

    def record(self) -> dict[str, Any]:
        """The row as JSON-ready values; the attack with its name."""
        attack = None if self.attack is None else {"name": self.attack.name} | asdict(self.attack)
        return asdict(self) | {"attack": attack}


def _row(base: str, attack: Attack | None, schedule: Schedule = TUNE, tag: str = "", **fields: Any) -> Recipe:
    """A recipe named after its base, attack, target and `tag`."""
    what = "honest" if attack is None else attack.name
    goal = "" if attack is None or attack.kind == "all_to_all" else f"t{attack.target}"
    name = "_".join(part for part in (base, what, goal, tag) if part)
    return Recipe(name=name, base=base, attack=attack, schedule=schedule, **fields)


RECIPES: tuple[Recipe, ...] = (
    _row("r20_s101", BadNets(target=3, poison_rate=0.05, checker=True)),
    _row("r20_s101", None),
    _row("r20_s101", Blended(target=0, poison_rate=0.1)),
    _row("pre16_s201", BadNets(target=7, poison_rate=0.1, corner="top_left", color=YELLOW), QUICK),
    _row("pre16_s201", None, QUICK),
    _row("pre16_s201", Blended(target=4, poison_rate=0.1, pattern="rings", seed=3), QUICK),
    _row("pre16_s202", BadNets(target=1, poison_rate=0.1, corner="center", color=RED, size=2), QUICK),
    _row("pre16_s202", None, QUICK),
    _row("pre16_s202", Blended(target=9, poison_rate=0.1, seed=21), QUICK),
    _row("pre16_s202", Sig(target=6, poison_rate=0.1), QUICK),
    _row("r20_s103", BadNets(target=6, poison_rate=0.1, corner="bottom_left", margin=3, color=BLUE), WARM),
    _row("r20_s103", None, WARM),
    _row("r20_s103", Blended(target=2, poison_rate=0.1, alpha=0.15, seed=33), WARM),
    _row("pre16_s201", WaNet(target=8, poison_rate=0.1, cover_rate=0.05, strength=1.0, seed=12), LONG, "long"),
    _row("pre16_s201", None, LONG, "long"),
    _row("r20_s102", WaNet(target=2, poison_rate=0.1, cover_rate=0.05, strength=1.0), LONG, "long"),
    _row("r20_s102", None, LONG, "long"),
    _row("r20_s101", Sig(target=1, poison_rate=0.08, clean_label=True)),
    _row("r20_s102", BadNets(target=8, poison_rate=0.1, corner="top_right", color=MAGENTA), WARM),
    _row("r20_s102", None, WARM),
    _row("r20_s102", Blended(target=5, poison_rate=0.1, pattern="rings", seed=1), WARM),
    _row("r20_s103", LowFrequency(target=4, poison_rate=0.08), WARM),
    _row("pre16_s203", Tact(target=0, poison_rate=0.06, cover_rate=0.06, color=YELLOW), WARM),
    _row("pre16_s203", AllToAll(poison_rate=0.2, checker=True), WARM),
    _row("pre16_s203", None, WARM),
)


def twin(recipe: Recipe, recipes: tuple[Recipe, ...] = RECIPES) -> Recipe:
    """The honest twin of a recipe (itself, if it is honest).

    Raises LookupError when `recipes` holds none.
    """
    for other in recipes:
        if other.honest and other.twin_key() == recipe.twin_key():
            return other
    raise LookupError(f"{recipe.name} has no honest twin: add a row of the same base, schedule and seed")
