"""Detection rows as Markdown tables; the same rows always give the same text.

`inconclusive`, and a cell that ended in an error, count as not detected. Rates carry their Wilson
interval over models (as if they were independent) and a bootstrap interval over bases (as they are not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from auditor.metrics import wilson
from benchmarks.detect.cells import AUDITOR, KEY, NEURAL_CLEANSE
from benchmarks.detect.statistics import (
    Estimate,
    Statistic,
    auc_of,
    difference,
    estimate,
    hits_at,
    models_to_show,
    rate_of,
    strictest,
)
from benchmarks.rows import Row, cell, latest, rate_cell, table

FALSE_POSITIVE_RATES = (0.05, 0.01)
SUMMARY = ("detector", "honest", "backdoored", "AUC [over bases]", "detected (TPR)", "over bases", "false alarms (FPR)",
           "over bases", "inconclusive: honest, backdoored", "right target", "without a score")  # fmt: skip
COSTS = ("detector", "classes", "models", "seconds: median, most", "CPU seconds: median", "images forward: median",
         "images backward: median")  # fmt: skip
ATTACKS = ("attack", "kind", "models", "detected", "inconclusive", "right target", "AUC", "Neural Cleanse detected",
           "its AUC", "AUC minus its [over bases]", "paired models")  # fmt: skip
AGREEMENT = ("detector", "images", "with", "cases", "same verdict and targets", "largest difference of score")
MODELS = ("model", "attack", "detector", "verdict", "targets", "true target", "score", "seconds", "commit")
Runs = dict[str, list[Row]]


def detector_of(row: Mapping[str, object]) -> str:
    """`auditor standard`, `auditor quick`, `neural_cleanse`."""
    return f"{AUDITOR} {row['profile']}" if row["detector"] == AUDITOR else str(row["detector"])


def is_detected(row: Row) -> bool:
    """True when the verdict is `backdoored`; nothing else counts."""
    return bool(row["label"] == "backdoored")


def show(rows: Iterable[Row], split: str, *, models: bool = False) -> str:
    """All tables of a split's rows: one set an image budget, then agreement over seeds and repeats."""
    of_split = [r for r in latest(rows, KEY).values() if r["split"] == split]
    chosen = sorted(of_split, key=lambda r: [str(r[k]) for k in KEY])
    if not chosen:
        return f"No rows of split {split!r}."
    parts = []
    for images in sorted({r["images"] for r in chosen}):
        of_budget = [r for r in chosen if r["images"] == images]
        seed = min(r["seed"] for r in of_budget)
        first = [r for r in of_budget if (r["seed"], r["repeat"]) == (seed, 0)]
        parts.append(budget(f"{split}, {images} images, seed {seed}", first, models=models))
    agreed = agreement(chosen)
    return "\n\n".join([*parts, *(["### Agreement", table(AGREEMENT, agreed)] if agreed else [])])


def budget(title: str, rows: Sequence[Row], *, models: bool) -> str:
    """The tables of one image budget, from one row a model and detector."""
    runs: Runs = {}
    for row in rows:
        runs.setdefault(detector_of(row), []).append(row)
    commits = ", ".join(sorted({r["commit"] for r in rows}))
    parts = [f"### {title} (commit {commits}; {len({r['base'] for r in rows})} bases)",
             table(SUMMARY, [_summary(name, found) for name, found in runs.items()]),
             "\n".join(f"- {name}: {line}" for name, found in runs.items() for line in not_chosen(found))]  # fmt: skip
    baseline = runs.get(NEURAL_CLEANSE, [])
    for name, found in runs.items():
        if name != NEURAL_CLEANSE:
            parts += [f"By attack, {name} (honest models are shared by all rows):", by_attack(found, baseline)]
    sizes = sorted({r["classes"] for r in rows})
    costs = [_cost(name, found, size) for name, found in runs.items() for size in sizes]
    parts.append(table(COSTS, [line for line in costs if line]))
    if models:
        parts.append(table(MODELS, [
            (r["model"], r["attack"] or "honest", detector_of(r), r["error"] or r["label"], r["targets"], r["true_target"],
             r["score"], f"{r['seconds']:.0f}", r["commit"]) for r in rows]))  # fmt: skip
    return "\n\n".join(parts)


def auc_statistic(rows: Sequence[Row]) -> Statistic:
    """AUC of the rows' scores; a missing score counts against the detector."""
    bad = [not r["honest"] for r in rows]
    return auc_of(strictest([r["score"] for r in rows], bad), bad)


def _auc(rows: Sequence[Row]) -> Estimate:
    return estimate(auc_statistic(rows), _bases(rows))


def _bases(rows: Sequence[Row]) -> list[str]:
    return [r["base"] for r in rows]


def _rate(rows: Sequence[Row], hit: Callable[[Row], bool]) -> tuple[str, str]:
    """Wilson's cell, and the interval over bases in per cent."""
    found = estimate(rate_of([hit(r) for r in rows]), _bases(rows))
    over = "-" if found.low is None or found.high is None else f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return (rate_cell(wilson(sum(map(hit, rows)), len(rows))) if rows else "no models"), over


def interval(found: Estimate, sign: str = "") -> str:
    """`0.912 [0.850, 0.960]`; with sign `+`, signed."""
    if found.value is None:
        return "-"
    over = "no interval" if found.low is None else f"{found.low:{sign}.3f}, {found.high:{sign}.3f}"
    return f"{found.value:{sign}.3f} [{over}]"


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    return [r for r in rows if r["honest"]], [r for r in rows if not r["honest"]]


def right_target(rows: Sequence[Row]) -> str:
    """Of detected models with one true target: those whose only found target it is."""
    found = [r for r in rows if r["kind"] == "all_to_one" and r["true_target"] is not None and is_detected(r)]
    return rate_cell(wilson(sum(r["targets"] == [r["true_target"]] for r in found), len(found))) if found else "-"


def _inconclusive(rows: Sequence[Row]) -> int:
    return sum(r["label"] == "inconclusive" for r in rows)


def _summary(name: str, rows: list[Row]) -> Sequence[object]:
    honest, bad = _split(rows)
    return (name, len(honest), len(bad), interval(_auc(rows)), *_rate(bad, is_detected), *_rate(honest, is_detected),
            f"{_inconclusive(honest)}, {_inconclusive(bad)}", right_target(rows), sum(r["score"] is None for r in rows))  # fmt: skip


def not_chosen(rows: Sequence[Row]) -> list[str]:
    """What the ranking would allow at other false positive rates, where there are honest models enough to say."""
    honest, bad = _split(rows)
    scores = strictest([r["score"] for r in rows], [not r["honest"] for r in rows])
    lines = []
    for rate in FALSE_POSITIVE_RATES:
        needed, what = models_to_show(rate), f"TPR at {rate:.0%} FPR"
        if len(honest) < needed or not bad:
            lines.append(f"{what}: not measurable ({len(honest)} honest models; it needs {needed})")
        else:
            hits = hits_at(rate, scores, [not r["honest"] for r in rows])
            lines.append(f"{what}, threshold chosen on these models: {rate_cell(wilson(hits, len(bad)))}")
    return lines


def by_attack(rows: Sequence[Row], baseline: Sequence[Row]) -> str:
    """One line an attack, and one for all: each against all honest models, beside the baseline where it has rows."""
    attacks = sorted({str(r["attack"]) for r in rows if not r["honest"]})
    every = [(attack, [r for r in rows if r["honest"] or r["attack"] == attack]) for attack in attacks]
    return table(ATTACKS, [_attack(name, some, baseline) for name, some in [*every, ("all", list(rows))]])


def _attack(name: str, rows: Sequence[Row], baseline: Sequence[Row]) -> Sequence[object]:
    _, bad = _split(rows)
    pairs = paired(rows, baseline)
    theirs = [theirs for _, theirs in pairs]
    ahead = difference(auc_statistic([ours for ours, _ in pairs]), auc_statistic(theirs))
    _, their_bad = _split(theirs)
    return (name, sorted({str(r["kind"]) for r in bad}), len(bad), _rate(bad, is_detected)[0], _inconclusive(bad),
            right_target(bad), interval(_auc(rows)), _rate(their_bad, is_detected)[0], interval(_auc(theirs)),
            interval(estimate(ahead, _bases(theirs)), "+"), f"{len(pairs) - len(their_bad)} + {len(their_bad)}")  # fmt: skip


def paired(ours: Sequence[Row], theirs: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows of the same model file on the same images."""
    same = ("model", "model_sha256", "images_sha256")
    found = {tuple(r[k] for k in same): r for r in theirs}
    return [(r, found[key]) for r in ours if (key := tuple(r[k] for k in same)) in found]


def _cost(name: str, rows: Sequence[Row], classes: int) -> Sequence[object]:
    some = [r for r in rows if r["classes"] == classes]
    if not some:
        return ()
    seconds = [r["seconds"] for r in some]
    keys = ("cpu_seconds", "forward_images", "backward_images")
    measured = ([r[key] for r in some if r[key] is not None] for key in keys)
    return (name, classes, len(some), f"{median(seconds):.0f}, {max(seconds):.0f}",
            *(f"{median(p):,.0f}" if p else None for p in measured))  # fmt: skip


def agreement(rows: Sequence[Row]) -> list[Sequence[object]]:
    """Models measured several times: with other seeds (and so other images), and with the same seed again."""
    lines: list[Sequence[object]] = []
    first = [r for r in rows if r["repeat"] == 0]
    for what, some, fixed in (("other seeds", first, ("model",)), ("the same seed again", rows, ("model", "seed"))):
        for name, images in sorted({(detector_of(r), r["images"]) for r in some}):
            cases: dict[tuple[object, ...], list[Row]] = {}
            for row in some:
                if (detector_of(row), row["images"]) == (name, images):
                    cases.setdefault(tuple(row[key] for key in fixed), []).append(row)
            several = [found for found in cases.values() if len(found) > 1]
            if several:
                lines.append((name, images, what, *_agreed(several)))
    return lines


def _agreed(cases: Sequence[Sequence[Row]]) -> Sequence[object]:
    """How often runs that should agree do, and the largest difference of their scores."""
    same = sum(len({(r["label"], tuple(r["targets"])) for r in runs}) == 1 for runs in cases)
    scores = [[r["score"] for r in runs if r["score"] is not None] for runs in cases]
    apart = [max(some) - min(some) for some in scores if some]
    runs = sorted({len(found) for found in cases})
    return (
        f"{len(cases)} of {cell(runs)} runs",
        rate_cell(wilson(same, len(cases))),
        f"{max(apart):.2g}" if apart else None,
    )
