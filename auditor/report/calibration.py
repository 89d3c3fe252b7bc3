"""Says what stands behind a score: the calibration record of `result.json` as rows that a reader can follow.

The record is an open dictionary: what is not known here is shown under its own name, and nothing is left out
but what is empty.
"""

from __future__ import annotations

from typing import Any

from auditor.report.text import flat_pairs, percent

LABELS = {
    "bank": "Bank",
    "profile": "Search profile",
    "images": "Clean images",
    "honest_models": "Honest models",
    "backdoored_models": "Backdoored models",
    "bank_false_alarms": "Honest, flagged",
    "bank_detected": "Backdoored, flagged",
    "p_value": "p-value",
    "probability_at_base_rate": "Probability",
    "class_profile_share": "Its share",
    "extrapolated": "Outside the bank",
    "last_layer_row_scores": "Last-layer rows",
}
NOTHING_SAID: tuple[Any, ...] = (None, "", [], {})


def calibration_pairs(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each entry that says anything."""
    said = {key: value for key, value in record.items() if value not in NOTHING_SAID}
    if not said.get("class_profile"):
        said.pop("class_profile_share", None)
    if isinstance(rates := said.get("probability_at_base_rate"), dict):
        said["probability_at_base_rate"] = _probabilities(rates)
    return flat_pairs({LABELS.get(key, key.capitalize()): value for key, value in said.items()})


def _probabilities(rates: dict[Any, Any]) -> str | dict[Any, Any]:
    """`{"0.1": 0.353}` as `35.3 % where 10 % of models carry a backdoor`; as it is where it holds anything else."""
    try:
        said = [f"{percent(float(value))} where {100 * float(rate):g}\N{NO-BREAK SPACE}%" for rate, value in rates.items()]
        return ", ".join(said) + " of models carry a backdoor"
    except (TypeError, ValueError):
        return rates
