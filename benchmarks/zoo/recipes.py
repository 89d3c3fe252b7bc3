"""What the zoo holds: one plain row a model, in the order of building.

Rows name a base and what is done to it. The honest twin of a backdoored recipe has the same
base, schedule and seed, so the two differ in nothing but the poison.
"""

from __future__ import annotations

from benchmarks.zoo.calibration import CALIBRATION
from benchmarks.zoo.held_out import HELD_OUT
from benchmarks.zoo.opened import OPENED
from benchmarks.zoo.recipe import Recipe

RECIPES: tuple[Recipe, ...] = (*CALIBRATION, *OPENED, *HELD_OUT)


def twin(recipe: Recipe, recipes: tuple[Recipe, ...] = RECIPES) -> Recipe:
    """The honest twin of a recipe (itself, if it is honest).

    Raises LookupError when `recipes` holds none.
    """
    if recipe.honest:
        return recipe
    for other in recipes:
        if other.honest and other.twin_key() == recipe.twin_key():
            return other
    raise LookupError(f"{recipe.name} has no honest twin: add a row of the same base, schedule and seed")


__all__ = ["RECIPES", "Recipe", "twin"]
