"""Says what stands behind a score: the calibration record of `result.json` as rows that a reader can follow.

The record is an open dictionary: what is not known here is shown under its own name, and nothing is left out
but what is empty.
"""

from __future__ import annotations

from typing import Any

from auditor.report.text import flat_pairs, percent

LABELS = {
    "bank": "Bank, version",
    "profile": "Search profile of its models",
    "images": "Clean images a model",
    "threshold": "Threshold of the score",
    "honest_models": "Honest models",
    "backdoored_models": "Backdoored models",
    "initialisations": "Initialisations they were trained from",
    "bank_false_alarms": "Honest ones at the threshold or above",
    "bank_detected": "Backdoored ones at the threshold or above",
    "p_value": "p-value among the honest ones",
    "likelihood_ratio": "Likelihood ratio",
    "probability_at_base_rate": "Probability of a backdoor, by how many models carry one",
    "class_profile": "Honest models of the same data set",
    "class_profile_share": "How far the suspect's class costs follow theirs",
    "extrapolated": "Where the suspect lies outside the bank",
    "last_layer_row_scores": "Outlier score of each class's last-layer row",
}
NOTHING_SAID: tuple[Any, ...] = (None, "", [], {})


def calibration_pairs(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each entry that says anything."""
    said = {key: value for key, value in record.items() if value not in NOTHING_SAID}
    if not said.get("class_profile"):
        said.pop("class_profile_share", None)
    if isinstance(rates := said.get("probability_at_base_rate"), dict):
        said["probability_at_base_rate"] = _probabilities(rates)
    return flat_pairs({LABELS.get(key, key): value for key, value in said.items()})


def _probabilities(rates: dict[Any, Any]) -> str | dict[Any, Any]:
    """`{"0.1": 0.353}` as `35.3 % where 10 % of models do`; as it is where it holds anything else."""
    try:
        return "; ".join(f"{percent(float(value))} where {percent(float(rate))} of models do" for rate, value in rates.items())
    except (TypeError, ValueError):
        return rates
