"""What `python -m benchmarks.remove` prints of its rows: means by method, `auto` beside each, and every cell."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.metrics import defense_effectiveness
from auditor.unlearn.baselines import BASELINES
from benchmarks.detect.statistics import Estimate, difference, estimate, mean_of
from benchmarks.rows import Row, rate_cell, table

PUBLISHED = {f"{name} (published)": name for name in BASELINES}
MODELS = ("model", "attack", "images", "method", "passed", "accuracy before", "after", "ASR before", "after", "RA after",
          "DER", "unlearning: seconds", "commit")  # fmt: skip
MEANS = ("images", "method", "models", "not found", "passed", "passed above 10 % ASR", "ASR after", "of honest twins", "accuracy lost",
         "DER", "DER of auto minus its")  # fmt: skip
BEST = ("images", "models", "auto below the best single method", "by, where it is: mean, most", "DER of auto minus the best single's")


def der(row: Row) -> float:
    """The defence effectiveness rating of a row, in [0, 1]."""
    before, after = row["before"], row["after"]
    return defense_effectiveness(before["accuracy"]["rate"], after["accuracy"]["rate"],
                                 before["attack_success_rate"]["rate"], after["attack_success_rate"]["rate"])  # fmt: skip


def model_table(rows: Sequence[Row]) -> str:
    """One line a cell."""
    def rate(row: Row, when: str, name: str) -> str:
        return rate_cell((row.get(when) or {}).get(name))

    return table(MODELS, [
        (r["model"], r["attack"], r["images"], r["method"], r.get("passed"), rate(r, "before", "accuracy"), rate(r, "after", "accuracy"),
         rate(r, "before", "attack_success_rate"), rate(r, "after", "attack_success_rate"), rate(r, "after", "recovered_accuracy"),
         der(r) if r.get("after") else None, r.get("unlearn_seconds"), r["commit"])
        for r in rows
    ])  # fmt: skip


def better(rows: Sequence[Row]) -> list[Row]:
    """The rows without the worse setting of each baseline, at each count of images, by mean DER over the cells
    in which both left a model; the small-data setting where there are none or they tie."""
    worse = set()
    for images in {r["images"] for r in rows}:
        for published, tuned in PUBLISHED.items():
            first, second = ({(r["model"], r["seed"]): der(r) for r in rows if (r["images"], r["method"]) == (images, name)
                              and r.get("after")} for name in (tuned, published))  # fmt: skip
            both = first.keys() & second.keys()
            if both:
                loses = sum(first[key] for key in both) < sum(second[key] for key in both)
                worse.add((images, tuned if loses else published))
            elif first:
                worse.add((images, published))
    return [r for r in rows if (r["images"], r["method"]) not in worse]


def mean_table(rows: Sequence[Row]) -> str:
    """Means over the models that were found, with intervals over bases, and `auto` beside each method, paired."""
    lines = []
    for images, method in dict.fromkeys((r["images"], r["method"]) for r in rows):
        every = [r for r in rows if (r["images"], r["method"]) == (images, method)]
        of = [r for r in every if r.get("after")]
        passed = [r for r in of if r["passed"]]
        weak = sum(r["after"]["attack_success_rate"]["rate"] > 0.1 for r in passed)
        lost = [r["before"]["accuracy"]["rate"] - r["after"]["accuracy"]["rate"] for r in of]
        left = [r["after"]["attack_success_rate"]["rate"] for r in of]
        twins = [(r["twin_asr"], r) for r in of if r.get("twin_asr") is not None]
        floor = _share([asr for asr, _ in twins], [r for _, r in twins])
        lines.append((images, method, len(of), len(every) - len(of), len(passed), weak, _share(left, of), floor, _share(lost, of),
                      _interval(estimate(mean_of([der(r) for r in of]), [r["base"] for r in of])), _against_auto(rows, of)))  # fmt: skip
    return table(MEANS, lines)


def _against_auto(rows: Sequence[Row], of: Sequence[Row]) -> str | None:
    auto = {(r["model"], r["images"], r["seed"]): r for r in rows if r["method"] == "auto" and r.get("after")}
    pairs = [(auto[key], r) for r in of if (key := (r["model"], r["images"], r["seed"])) in auto and r["method"] != "auto"]
    if not pairs:
        return None
    first, second = (mean_of([der(pair[i]) for pair in pairs]) for i in (0, 1))
    return _interval(estimate(difference(first, second), [pair[0]["base"] for pair in pairs]))


def _share(values: Sequence[float], of: Sequence[Row]) -> str:
    found = estimate(mean_of(values), [r["base"] for r in of])
    return "-" if found.value is None else _interval(Estimate(value=100 * found.value, low=_times(found.low), high=_times(found.high)), 1) + " %"


def _times(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _interval(found: Estimate, digits: int = 3) -> str:
    if found.value is None:
        return "-"
    bounds = "" if found.low is None or found.high is None else f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found.value:.{digits}f}{bounds}"


def against_best(rows: Sequence[Row]) -> str:
    """How often `auto` ends below the method that alone does best on the very model, and by how much.

    Nobody can choose that method beforehand: it takes the true trigger to know it.
    """
    lines = []
    for images in dict.fromkeys(r["images"] for r in rows):
        of = [r for r in rows if r["images"] == images and r.get("after")]
        auto = {(r["model"], r["seed"]): r for r in of if r["method"] == "auto"}
        single = {key: [der(r) for r in of if (r["model"], r["seed"]) == key and r["method"] != "auto"] for key in auto}
        behind = {key: der(auto[key]) - max(others) for key, others in single.items() if others}
        below = [-value for value in behind.values() if value < 0]
        least = f"{sum(below) / len(below):.3f}, {max(below):.3f}" if below else None
        lines.append((images, len(behind), len(below), least,
                      _interval(estimate(mean_of(list(behind.values())), [auto[key]["base"] for key in behind]))))  # fmt: skip
    return table(BEST, lines)
