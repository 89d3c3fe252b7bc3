"""Recorded runs: what lies in the run folders here, how two of them differ, and how long they took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.domain import AuditResult, Change
from auditor.errors import AuditorError
from auditor.report.reading import read_result
from auditor.report.text import NOTHING, duration, number, percent
from auditor.report.words import judge
from auditor.tui.replay import is_run
from auditor.tui.text import interval_text, rate_of

MOST_RUNS = 60
MOST_ENTRIES = 1000


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A run in one line; `problem` says why it cannot be opened."""

    folder: Path
    model: str = ""
    label: str = ""
    mark: str = "unknown"
    follow_up: str = ""
    profile: str = ""
    architecture: str = ""
    started: str = ""
    seconds: float = 0.0
    search_s: float = 0.0
    problem: str = ""


def list_runs(roots: Iterable[Path]) -> list[PastRun]:
    """The runs directly below the folders, the latest first, at most `MOST_RUNS`."""
    found: dict[Path, float] = {}
    for root in roots:
        for folder in _folders(root):
            found.setdefault(folder.resolve(), (folder / "result.json").stat().st_mtime)
    latest = sorted(found, key=lambda folder: -found[folder])[:MOST_RUNS]
    return [summary(folder) for folder in latest]


def _folders(root: Path) -> list[Path]:
    try:
        entries = [entry for _, entry in zip(range(MOST_ENTRIES), root.iterdir(), strict=False)]
        return [entry for entry in entries if not entry.is_symlink() and entry.is_dir() and is_run(entry)]
    except OSError:
        return []


def summary(folder: Path) -> PastRun:
    """The line of one run folder."""
    try:
        result = read_result(folder / "result.json").result
    except AuditorError as error:
        return PastRun(folder=folder, problem=error.what)
    outcome = judge(result)
    return PastRun(
        folder=folder, model=Path(result.artifact.path).name if result.artifact else "", label=outcome.label,
        mark=outcome.mark, follow_up=outcome.follow_up, profile=result.run.profile,
        architecture=result.architecture.name if result.architecture else "", started=result.run.started,
        seconds=sum(result.run.seconds.values()), search_s=result.run.seconds.get("detect", 0.0),
    )  # fmt: skip


def expected_search_s(runs: Sequence[PastRun], architecture: str, profile: str) -> float | None:
    """The median seconds that searches of this network took here in this profile; None where there was none.

    A search of a second was taken up from an earlier one, and says nothing.
    """
    seconds = [run.search_s for run in runs if (run.architecture, run.profile) == (architecture, profile) and run.search_s > 1]
    return statistics.median(seconds) if seconds and architecture else None


Read = Callable[[AuditResult], str]


def _rate(name: str, when: str) -> Read:
    def read(result: AuditResult) -> str:
        change: Change | None = getattr(result.verification, name, None)
        return rate_of(getattr(change, when)) if change is not None else NOTHING

    return read


def _targets(result: AuditResult) -> str:
    return ", ".join(map(str, result.verdict.target_classes)) or NOTHING if result.verdict else NOTHING


def _tar(when: str) -> Read:
    return lambda result: interval_text(result.verification.tar.get(when)) if result.verification else NOTHING


_ROWS: tuple[tuple[str, Read], ...] = (
    ("model", lambda r: Path(r.artifact.path).name if r.artifact else NOTHING),
    ("sha256", lambda r: r.artifact.sha256[:16] if r.artifact else NOTHING),
    ("network", lambda r: r.architecture.name if r.architecture else NOTHING),
    ("search", lambda r: f"{r.run.profile}, seed {r.run.seed}, {r.run.device}"),
    ("verdict", lambda r: judge(r).label),
    ("suspicion", lambda r: number(r.verdict.score) if r.verdict else NOTHING),
    ("targets", _targets),
    ("mask area", lambda r: percent(r.triggers[0].mask_area) if r.triggers else NOTHING),
    ("method", lambda r: r.unlearning.method if r.unlearning else NOTHING),
    ("outcome", lambda r: judge(r).follow_up),
    ("accuracy before", _rate("clean_accuracy", "before")),
    ("accuracy after", _rate("clean_accuracy", "after")),
    ("flips before", _rate("attack_success_rate", "before")),
    ("flips after", _rate("attack_success_rate", "after")),
    ("TAR before", _tar("before")),
    ("TAR after", _tar("after")),
    ("took", lambda r: duration(sum(r.run.seconds.values()))),
)


def compare(folders: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """What was found in each run, a named row each. Raises InputError."""
    results = [read_result(folder / "result.json").result for folder in folders]
    return [(name, [read(result) for result in results]) for name, read in _ROWS]
