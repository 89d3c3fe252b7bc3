"""What stands behind a score: a bank of honest and backdoored models, and what they scored.

A class is scored by how far its triggers stand out in the family in which they stand out most,
and in all families together, and by how far the mean of its row of the last layer does. Each
family's scores, and the rows', are first divided by what honest models of the bank reach in it,
because honest classes spread more in some families than in others. A logistic model with a weight
for each of the three and a bias turns them into a score; nothing else is fitted. The bank holds one
table a profile and image budget, made by `python -m benchmarks.detect.fit` from models of whose
bases none is ever reported on.

Legend: F families, K classes.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.verdict.profiles import Profile
from auditor.verdict.statistics import expected_maximum

Scores = NDArray[np.float64]
BANK = "bank.json"
BASE_RATES = (0.01, 0.1, 0.5)
WIDENED_BY = 1.0  # in logits, where a suspect lies beyond the bank; not measured, as nothing there is
ARCHITECTURE, PROFILE = "architecture", "profile"


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The fitted model: `scale` of each family and of the rows, and the weights of the three features."""

    scale: Mapping[str, float]
    bias: float
    strongest: float
    together: float
    rows: float = 0.0
    rows_scale: float = 2.0

    def class_scores(self, families: Sequence[str], z_FK: Scores, rows_K: Scores | None = None) -> Scores:
        """A score (K,) in (0, 1) of every class; NaN outlier scores, and rows that are not known, count as unremarkable."""
        features_3K = self.features(families, z_FK, rows_K)
        logit_K = self.bias + self.strongest * features_3K[0] + self.together * features_3K[1] + self.rows * features_3K[2]
        return np.asarray(1 / (1 + np.exp(-logit_K)), dtype=np.float64)

    def features(self, families: Sequence[str], z_FK: Scores, rows_K: Scores | None = None) -> Scores:
        """(3, K), each log(1 + x): x the largest over families, the sum of the positive ones, and the rows' outlier score."""
        standardized_FK = self.standardized(families, z_FK)
        rows_K = np.zeros(z_FK.shape[1]) if rows_K is None else np.nan_to_num(rows_K, nan=0.0)
        rows_1K = np.log1p(np.maximum(rows_K, 0) / (self.rows_scale * expected_maximum(z_FK.shape[1])))[None]
        return np.concatenate([class_features(standardized_FK), rows_1K])

    def standardized(self, families: Sequence[str], z_FK: Scores) -> Scores:
        """Outlier scores (F, K) in units of what honest models reach; a family without a scale is given 2.

        The largest of many classes is always large: scores are first taken relative to the
        expected largest of K normal values.
        """
        scale_F1 = np.array([self.scale.get(name, 2.0) for name in families])[:, None] * expected_maximum(z_FK.shape[1])
        return np.asarray(np.nan_to_num(z_FK, nan=0.0) / scale_F1, dtype=np.float64)


def class_features(standardized_FK: Scores) -> Scores:
    """(2, K): log(1 + the largest over families), and log(1 + the sum of the positive ones)."""
    positive_FK = np.maximum(standardized_FK, 0)
    return np.asarray(np.log1p(np.stack([positive_FK.max(0), positive_FK.sum(0)])), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The bank at one profile and image budget: the scoring, the threshold fixed on it, and the
    scores its honest and backdoored models were given by a scoring fitted without their base."""

    profile: str
    images: int
    scoring: Scoring
    threshold: float
    honest: Sequence[float]
    backdoored: Sequence[float]
    bases: int
    classes: tuple[int, int]
    pixels: tuple[int, int]
    architectures: Sequence[str]
    profiles: Sequence[Profile] = ()

    def p_value(self, score: float) -> float:
        """Conformal: the share of honest models, this one among them, that score at least so high."""
        return (1 + sum(other >= score for other in self.honest)) / (1 + len(self.honest))

    def likelihood_ratio(self, score: float) -> float:
        """How much likelier the score is under a backdoor, no further than the bank's counts can tell."""
        odds = score / max(1 - score, 1e-12)
        return float(np.clip(odds, 1 / (1 + len(self.backdoored)), 1 + len(self.honest)))

    def beyond(self, *, images: int, profile: str, num_classes: int, pixels: int, architecture: str) -> list[str]:
        """In words, where a model lies outside what the bank has seen; empty inside it. More images lie inside: a target
        stands out further with them, and honest classes do not (benchmarks/RESULTS.md, "detect")."""
        said = []
        if profile != self.profile:
            said.append(f"{PROFILE} {profile} (the bank: {self.profile})")
        if images < self.images / 2:
            said.append(f"{images} images (the bank: {self.images})")
        if not self.classes[0] <= num_classes <= self.classes[1]:
            said.append(f"{num_classes} classes (the bank: {self.classes[0]} to {self.classes[1]})")
        if not self.pixels[0] <= pixels <= self.pixels[1]:
            said.append(f"{pixels} pixels (the bank: {self.pixels[0]} to {self.pixels[1]})")
        if architecture not in self.architectures:
            said.append(f"{ARCHITECTURE} {architecture or 'unknown'}")
        return said


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The table for one search, the profiles of as many classes, where the suspect lies beyond the bank, and
    how far each class's row of the suspect's last layer stands out (K,), None where that does not count."""

    table: Table
    profiles: Sequence[Profile] = ()
    beyond: Sequence[str] = ()
    rows_z: Scores | None = None

    def rows(self, classes: Sequence[int]) -> Scores | None:
        """The outlier scores of these classes' last-layer rows, where they are known."""
        return None if self.rows_z is None else self.rows_z[list(classes)]

    @property
    def threshold(self) -> float:
        """The table's threshold; wider where the images, classes or pixels lie beyond the bank.

        An architecture or profile that the bank has not seen is said and no more: scores are
        relative to the network's own classes, all searched equally far.
        """
        if all(said.startswith((ARCHITECTURE, PROFILE)) for said in self.beyond):
            return self.table.threshold
        odds = self.table.threshold / (1 - self.table.threshold) * math.exp(WIDENED_BY)
        return odds / (1 + odds)


@functools.cache
def bank() -> tuple[str, tuple[Table, ...]]:
    """The bank's version and its tables, as shipped."""
    stored: dict[str, Any] = json.loads(resources.files("auditor.verdict").joinpath(BANK).read_text(encoding="utf-8"))
    return stored["version"], tuple(_table(item) for item in stored["tables"])


def _table(item: Mapping[str, Any]) -> Table:
    return Table(
        profile=item["profile"], images=item["images"], scoring=Scoring(**item["scoring"]), threshold=item["threshold"],
        honest=item["honest"], backdoored=item["backdoored"], bases=item["bases"], classes=tuple(item["classes"]),
        pixels=tuple(item["pixels"]), architectures=item["architectures"],
        profiles=tuple(_profile(profile) for profile in item["profiles"]),
    )  # fmt: skip


def _profile(item: Mapping[str, Any]) -> Profile:
    known = {family: np.array(values, dtype=np.float64) for family, values in item["log_cost"].items()}  # null: NaN
    return Profile(name=item["name"], models=item["models"], log_cost=known)


def nearest_table(profile: str, images: int) -> Table | None:
    """The table of this profile with the nearest image budget, or of the standard one; None from an empty bank.

    Without images that is the table of searches on stand-ins for them, which no count of images is near.
    """
    _, tables = bank()
    alike = [t for t in tables if (t.images > 0) == (images > 0)] or tables
    of_profile = [t for t in alike if t.profile == profile] or [t for t in alike if t.profile == "standard"]
    return min(of_profile, key=lambda t: abs(math.log(max(1, t.images) / max(1, images))), default=None)


def calibration_record(used: Bank, score: float, profile: str, slope: float) -> dict[str, Any]:
    """What result.json says of the score: the bank, its error rates, and what the score means.

    `profile` is the class profile that was taken off, and `slope` how much of it.
    """
    table = used.table
    ratio = table.likelihood_ratio(score)
    return {
        "bank": bank()[0], "profile": table.profile, "images": table.images, "threshold": round(used.threshold, 4),
        "honest_models": len(table.honest), "backdoored_models": len(table.backdoored), "initialisations": table.bases,
        "bank_false_alarms": sum(s >= table.threshold for s in table.honest),
        "bank_detected": sum(s >= table.threshold for s in table.backdoored),
        "p_value": round(table.p_value(score), 4), "likelihood_ratio": round(ratio, 4),
        "probability_at_base_rate": {str(rate): round(rate * ratio / (rate * ratio + 1 - rate), 4) for rate in BASE_RATES},
        "class_profile": profile, "class_profile_share": round(slope, 3), "extrapolated": list(used.beyond),
        "last_layer_row_scores": None if used.rows_z is None else [round(float(z), 3) for z in np.nan_to_num(used.rows_z)],
    }  # fmt: skip
