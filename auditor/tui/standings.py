"""How the classes compare while triggers toward each are searched: the table on the audit screen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from auditor.domain import ClassEvidence
from auditor.events import SearchStep

STANDS_OUT = 0.5


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The family in which a class is most suspicious.

    `relative` is its cost over the family's median cost, None until half the classes have one:
    what costs little next to the others is suspicious, and it compares across families.
    """

    target_class: int
    family: str
    cost: float | None
    flip_share: float
    relative: float | None
    anomaly_index: float | None = None

    @property
    def stands_out(self) -> bool:
        return self.relative is not None and self.relative < STANDS_OUT


class Standings:
    """Best cost and flip share of every class in every family; evidence overrides live steps."""

    def __init__(self) -> None:
        self._costs: dict[str, dict[int, float]] = {}
        self._shares: dict[str, dict[int, float]] = {}
        self._anomalies: dict[tuple[str, int], float | None] = {}

    def follow(self, step: SearchStep) -> None:
        """Take in a step; a class may appear several times in it, once per restart.

        A step over fewer classes than before refines the cheapest alone: it would make them look cheaper
        than the others for that reason only, and is left out.
        """
        costs = self._costs.setdefault(step.family, {})
        if len(set(step.classes)) < len(costs):
            return
        shares = self._shares.setdefault(step.family, {})
        for target, cost, share in zip(step.classes, step.cost, step.attack_success_rate, strict=False):
            costs[target] = min(costs.get(target, math.inf), math.inf if cost is None else cost)
            shares[target] = max(shares.get(target, 0.0), share)

    def settle(self, evidence: Iterable[ClassEvidence]) -> None:
        """Replace what was seen live by what the verdict rests on; nothing changes without evidence."""
        found = list(evidence)
        for family in {item.family for item in found}:
            self._costs[family], self._shares[family] = {}, {}
        for item in found:
            self._costs[item.family][item.target_class] = math.inf if item.cost is None else item.cost
            self._shares[item.family][item.target_class] = item.attack_success_rate
            self._anomalies[item.family, item.target_class] = item.anomaly_index

    def ranked(self) -> list[Standing]:
        """One standing a class, the most suspicious first."""
        medians = {family: statistics.median(costs.values()) for family, costs in self._costs.items() if costs}
        best: dict[int, Standing] = {}
        for family, costs in self._costs.items():
            for target, cost in costs.items():
                standing = self._standing(family, target, cost, medians[family])
                if target not in best or _suspicion(standing) < _suspicion(best[target]):
                    best[target] = standing
        return sorted(best.values(), key=_suspicion)

    def of_family(self, family: str) -> list[Standing]:
        """The classes in one family, by class."""
        costs = self._costs.get(family, {})
        median = statistics.median(costs.values()) if costs else math.inf
        return [self._standing(family, target, costs[target], median) for target in sorted(costs)]

    def _standing(self, family: str, target: int, cost: float, median: float) -> Standing:
        comparable = math.isfinite(median) and median > 0 and len(self._costs[family]) > 2
        return Standing(
            target_class=target, family=family, cost=cost if math.isfinite(cost) else None,
            flip_share=self._shares[family].get(target, 0.0), relative=cost / median if comparable else None,
            anomaly_index=self._anomalies.get((family, target)),
        )  # fmt: skip


def _suspicion(standing: Standing) -> tuple[float, float, float, int]:
    relative = math.inf if standing.relative is None else standing.relative
    cost = math.inf if standing.cost is None else standing.cost
    return relative, cost, -standing.flip_share, standing.target_class
