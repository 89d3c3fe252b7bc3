"""How far a search goes: which families, how many steps of how many images, by profile and number of classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from auditor.search import FAMILIES


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How far a search goes: `restarts` a class for `first_steps`, the best one up to `steps`,
    then `refine_steps` more for the `refined` cheapest classes; `batch_size` images a step.
    `families` names those searched, in order, `many_families` those beside them where pairs of classes are too many to be
    searched (sources.py)."""

    restarts: int
    first_steps: int
    steps: int
    refine_steps: int
    refined: int = 1
    batch_size: int = 16
    families: tuple[str, ...] = ("patch", "additive")
    many_families: tuple[str, ...] = ()
    priced_images: int = 28  # costs are read on so many: more would move no cost by its noise

    def over(self, classes: int) -> Budget:
        """This budget for so many classes: beyond 16 each sees two thirds of the images a step, and more families are searched."""
        if classes <= MOST_CLASSES:
            return self
        return replace(self, families=self.families + self.many_families, batch_size=self.batch_size * 2 // 3, priced_images=self.priced_images * 2 // 3)

    def at_pace(self, pace: float) -> Budget:
        """The same images in `pace` times as many, smaller steps."""
        steps, first, refine = (round(count * pace) for count in (self.steps, self.first_steps, self.refine_steps))
        return replace(self, steps=steps, first_steps=first, refine_steps=refine, batch_size=max(1, round(self.batch_size / pace)))


MOST_CLASSES = 16  # of which pairs are searched: they grow with the square
EVERY_FAMILY = tuple(FAMILIES)
PROFILES: dict[str, Budget] = {
    "quick": Budget(restarts=1, first_steps=0, steps=28, refine_steps=15, batch_size=8, priced_images=14,
                    families=("patch", "lowfreq", "warp")),
    "standard": Budget(restarts=1, first_steps=0, steps=60, refine_steps=36, batch_size=8,
                       families=("patch", "additive", "lowfreq", "warp"), many_families=("feature",)),
    "deep": Budget(restarts=2, first_steps=40, steps=150, refine_steps=80, families=EVERY_FAMILY),
}  # fmt: skip
