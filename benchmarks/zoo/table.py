"""Prints what the zoo holds: the recipes and whether they are done, and what the models measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo.folders import is_done
from benchmarks.zoo.recipe import Recipe

HIGH_ASR = 0.85
HEAD = ("model", "split", "base", "network", "attack", "target", "accuracy", "ASR", "RA", "seconds")


def listing(recipes: Sequence[Recipe], out: Path) -> list[str]:
    """One line a recipe: whether it is done, split, base, attack and name."""
    return [
        f"{'done' if is_done(r, out) else '-':5}{r.split:12}{r.base:24}{r.attack.name if r.attack else 'honest':18}{r.name}"
        for r in recipes
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of meta.json rows, one a model, then the counts of each split."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for row in sorted(rows, key=lambda row: (row["split"], row["base"], row["name"])):
        rates = (row["accuracy"], row["attack_success_rate"], row["recovered_accuracy"])
        lines.append(_line((
            row["name"], row["split"], row["base"], f"{row['architecture']}:{row['width']}",
            row["attack"] or "honest", "" if row["target"] is None else row["target"], *map(_percent, rates), row["seconds"],
        )))  # fmt: skip
    return "\n".join([*lines, "", *counts(rows)])


def counts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Two lines a split: honest and backdoored models with how many reach `HIGH_ASR`, and models by attack."""
    lines = []
    for split in sorted({row["split"] for row in rows}):
        here = [row for row in rows if row["split"] == split]
        backdoored = [row for row in here if not row["honest"]]
        high = sum(row["attack_success_rate"]["rate"] >= HIGH_ASR for row in backdoored)
        attacks = Counter(row["attack"] for row in backdoored)
        lines += [
            f"{split}: {len(here) - len(backdoored)} honest, {len(backdoored)} backdoored ({high} with an ASR of "
            f"{HIGH_ASR:.0%} or more), {len({row['base'] for row in here})} initialisations, "
            f"{sum(row['seconds'] for row in here) / 60:.0f} minutes",
            f"{split} by attack: " + ", ".join(f"{name} {count}" for name, count in sorted(attacks.items())),
        ]
    return lines


def _percent(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['rate']:.1%}"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
