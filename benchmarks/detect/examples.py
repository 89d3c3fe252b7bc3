"""What a row of `python -m benchmarks.detect` tells the fit of the bank: costs, bounds and outlier scores, and these
relative to the class profile of honest models of other initialisations.

Legend: F families, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from auditor.search import FAMILIES
from auditor.search.budgets import PROFILES
from auditor.verdict.profiles import Profile, make_profile, profiled_scores
from auditor.verdict.statistics import ENOUGH_FOUND
from benchmarks.detect.statistics import Floats
from benchmarks.rows import Row

DATA_SETS = {10: "CIFAR-10", 43: "GTSRB"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One row as the fit sees it; `target` is None for an honest model."""

    row: Row
    families: list[str]
    classes: list[int]
    cost_FK: Floats
    bound_FK: Floats
    own_z_FK: Floats
    target: int | None
    z_FK: Floats
    rows_K: Floats

    @property
    def base(self) -> str:
        return str(self.row["base"])


def example(row: Row) -> Example:
    """A row's costs and outlier scores, of the families that its profile searches now; NaN where one found nothing."""
    searched = max((len(found["target_class"]) for found in row["evidence"].values()), default=0)
    families = [name for name in FAMILIES if name in row["evidence"] and name in PROFILES[row["profile"]].over(searched).families]
    classes = sorted({k for name in families for k in row["evidence"][name]["target_class"]})
    shape = len(families), len(classes)
    cost_FK, bound_FK, z_FK = (np.full(shape, np.nan) for _ in range(3))
    for f, name in enumerate(families):
        found = row["evidence"][name]
        for values_FK, key in (cost_FK, "log_cost"), (bound_FK, "cost_bound"), (z_FK, "anomaly_index"):
            for k, value in zip(found["target_class"], found.get(key, []), strict=False):
                values_FK[f, classes.index(k)] = np.nan if value is None else value
    target = row["true_target"]
    return Example(row=row, families=families, classes=classes, cost_FK=np.exp(cost_FK), bound_FK=bound_FK, own_z_FK=z_FK,
                   target=classes.index(target) if target in classes else None, z_FK=z_FK,
                   rows_K=np.array([row["rows_z"][k] for k in classes]))  # fmt: skip


def cross_profiled(examples: Sequence[Example]) -> list[Example]:
    """The examples with scores relative to a class profile of honest models of other initialisations."""
    return [profiled(e, profile_of([o for o in examples if o.base != e.base], e.row["classes"])) for e in examples]


def profiled(e: Example, profile: Profile | None) -> Example:
    """The example with scores relative to this class profile, its own without one."""
    known_FK = profile.over(e.families, e.classes) if profile else None
    z_FK, _ = profiled_scores(e.cost_FK, e.bound_FK, known_FK)
    # Rows may lack the bounds that count where almost no class has a trigger: there their own scores stand.
    found_F1 = (np.isfinite(e.cost_FK).sum(1) > ENOUGH_FOUND)[:, None]
    return replace(e, z_FK=np.where(found_F1, z_FK, e.own_z_FK))


def profile_of(examples: Sequence[Example], classes: int) -> Profile | None:
    """The class profile of the honest models of so many classes; None without any."""
    honest = [e for e in examples if e.row["honest"] and e.row["classes"] == classes]
    costs = []
    for e in honest:
        log_cost = {name: np.full(classes, np.nan) for name in e.families}
        for f, name in enumerate(e.families):
            log_cost[name][e.classes] = np.log(e.cost_FK[f])
        costs.append({name: values for name, values in log_cost.items() if np.isfinite(values).any()})
    return make_profile(DATA_SETS.get(classes, f"{classes} classes"), costs) if costs else None
