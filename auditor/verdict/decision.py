"""From weighed evidence to a verdict with its reasons.

A class that stands out is a suspicion; a trigger toward it that flips unseen images confirms it.
What stands out is judged by the bank's scoring (calibration.py); without a bank by log-cost
outliers under a family-wise threshold, and then the score ranks suspicion and no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from auditor.domain import FAMILY_WORDS, BackdoorKind, TriggerFinding, Verdict, VerdictLabel, class_words, family_words
from auditor.search.synthesis import SearchResult
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.calibration import Bank, calibration_record
from auditor.verdict.confirmation import confirm
from auditor.verdict.statistics import family_wise_p
from auditor.verdict.weighing import SIGNIFICANCE, Lead, Suspicion, Weighed, weigh

SOURCE_UNTESTED = ("Backdoors that act on images of one source class only were not searched for (that is done in at most 16 classes, not by "
                   "--profile quick or with few images unless --sources asks for it, and not where another backdoor is found).")  # fmt: skip
ALL_TO_ALL_UNTESTED = ("All-to-all backdoors were not searched for (that is done in at most 16 classes, not by --profile quick, not "
                       "with --targets, and not where another backdoor is found).")  # fmt: skip
TELLING_SHARE = 0.5
ROW_STANDS_OUT = 3.0  # robust deviations; one in seven of the honest calibration and opened models has such a row


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """The verdict and the triggers behind it, most convincing first; `triggers` pairs with `findings`."""

    verdict: Verdict
    findings: list[TriggerFinding] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)


def decide(
    suspect: Suspect, search: SearchResult, images: Tensor, labels: Tensor, class_names: Sequence[str],
    targets: Sequence[int] | None = None, bank: Bank | None = None,
) -> Decision:  # fmt: skip
    """The verdict on a search, confirmed on `images` (N, C, H, W), which no search has seen.

    With `targets` only those classes can be found backdoored; the others are their null. With a
    `bank` the score is calibrated.
    """
    weighed = weigh(search, bank)
    suspicions = weighed.suspicions
    if targets:
        suspicions = [s for s in suspicions if s.target_class in targets]
    judged = [_judged(suspect, s, images, labels) for s in suspicions]
    confirmed = [s for s in judged if is_confirmed(s.leads[0])]
    leads = [lead for s in judged for lead in (s.leads if bank is None else telling(s.leads))]
    return Decision(
        verdict=_verdict(search, weighed, judged, confirmed, class_names, bank),
        findings=[_finding(lead) for lead in leads],
        triggers=[lead.confirmation.trigger for lead in leads if lead.confirmation is not None],
    )


def telling(leads: Sequence[Lead]) -> list[Lead]:
    """The first lead and those that stand out nearly as much: where one family meets the backdoor,
    what others find is mostly the class's own, and unlearning it would cost accuracy for nothing."""
    return [lead for lead in leads if lead is leads[0] or lead.standing >= TELLING_SHARE * leads[0].standing]


def is_confirmed(lead: Lead) -> bool:
    """Whether the lead's trigger flipped enough unseen images."""
    return lead.confirmation is not None and lead.confirmation.confirmed


def _judged(suspect: Suspect, suspicion: Suspicion, images: Tensor, labels: Tensor) -> Suspicion:
    """The suspicion with every lead put to confirmation, the confirmed ones first: a trigger of
    the wrong family can be cheap and yet fit unseen images badly, where the right one holds."""
    leads = [
        replace(lead, confirmation=confirm(suspect, lead.candidate, lead.null_cost, images, labels))
        for lead in suspicion.leads
    ]
    leads.sort(key=lambda lead: (not is_confirmed(lead), -(lead.standing or lead.z)))
    return replace(suspicion, leads=leads)


def _finding(lead: Lead) -> TriggerFinding:
    found = lead.confirmation
    assert found is not None  # decide() confirms every lead
    area = float((found.trigger.parameters["mask"]).mean()) if found.trigger.family == "patch" else None
    return TriggerFinding(
        target_class=found.trigger.target_class, family=found.trigger.family, cost=found.cost,
        attack_success_rate=found.rate, confirmed=found.confirmed, anomaly_index=lead.z, mask_area=area,
    )  # fmt: skip


def _verdict(
    search: SearchResult, weighed: Weighed, judged: list[Suspicion], confirmed: list[Suspicion],
    class_names: Sequence[str], bank: Bank | None,
) -> Verdict:  # fmt: skip
    outliers = [e.anomaly_index for e in weighed.evidence if e.anomaly_index is not None] + [s.z for s in judged]
    targets = [s.target_class for s in confirmed]
    label: VerdictLabel = "no_evidence"
    kind: BackdoorKind | None = None
    if confirmed:
        label, kind = "backdoored", "all_to_one" if len(targets) == 1 else "mixed"
    elif not outliers or not search.complete or judged:
        label = "inconclusive"
    score = _score(weighed, outliers)
    reasons = [*_reasons(search, outliers, judged, confirmed, class_names), *_row_sentence(judged, bank)]
    if bank and not weighed.profile:
        reasons.append("No honest models of the same data set are in the bank: classes are compared with one another alone.")
    return Verdict(
        label=label, score=score, kind=kind, target_classes=targets, per_class=weighed.evidence,
        reasons=reasons if bank is None or score is None else [*reasons, calibrated_sentence(bank, score)],
        calibration=None if bank is None or score is None else calibration_record(bank, score, weighed.profile, weighed.slope),
        untested=untested(search),
    )  # fmt: skip


def _row_sentence(judged: Sequence[Suspicion], bank: Bank | None) -> list[str]:
    """What the last layer says of the classes that stand out: one that many stamped images trained often has a row
    of larger mean."""
    rows_K = bank.rows([s.target_class for s in judged]) if bank else None
    said = [f"{s.target_class} (outlier score {z:.1f})" for s, z in zip(judged, rows_K if rows_K is not None else [], strict=False)
            if z >= ROW_STANDS_OUT]  # fmt: skip
    return [f"In the last layer too the row of class {', of class '.join(said)} has a larger mean than the others."] if said else []


def _score(weighed: Weighed, outliers: Sequence[float]) -> float | None:
    if not outliers:
        return None
    return max(weighed.scores.values()) if weighed.scores else suspicion_score(max(outliers), len(weighed.evidence))


def calibrated_sentence(bank: Bank, score: float) -> str:
    """What the score means, in words."""
    table, ratio = bank.table, bank.table.likelihood_ratio(score)
    higher = sum(other >= score for other in table.honest)
    beyond = f" The suspect lies beyond the bank ({'; '.join(bank.beyond)}), so this is an extrapolation." if bank.beyond else ""
    return (
        f"Of {len(table.honest)} honest models in the bank {higher} scored {score:.2f} or more (p = {table.p_value(score):.2g}); "
        f"such a score is {ratio:.2g} times as likely under a backdoor: where one model in ten is backdoored, "
        f"that makes it {_probability(ratio, 0.1):.0%} probable.{beyond}"
    )


def _probability(ratio: float, base_rate: float) -> float:
    return base_rate * ratio / (base_rate * ratio + 1 - base_rate)


def untested(search: SearchResult) -> list[str]:
    """What was not searched for, or not to its end."""
    searched = {c.family for c in search.candidates}
    missing = [word for name, word in FAMILY_WORDS.items() if name not in searched and name not in search.skipped]
    said = [f"These kinds of trigger were not searched for: {', '.join(missing)}."] if missing else []
    said.append(f"A trigger of a kind other than those searched ({in_words(searched)}) may exist."
                if searched else "No trigger was searched for.")  # fmt: skip
    return [*said, SOURCE_UNTESTED, ALL_TO_ALL_UNTESTED, *(f"The {name} family was not searched to its end: the time ran out." for name in search.skipped)]


def in_words(families: Iterable[str]) -> str:
    """The families in the order in which they are searched."""
    order = list(FAMILY_WORDS)
    return ", ".join(family_words(name) for name in sorted(families, key=lambda name: (order.index(name) if name in order else 99, name)))


def suspicion_score(z: float, tests: int) -> float:
    """A rank in (0, 1): one half where the family-wise p-value is at the significance level."""
    p = max(family_wise_p(z, tests), 1e-300)
    return 1 / (1 + math.sqrt(p / SIGNIFICANCE))


def _reasons(
    search: SearchResult, scores: list[float], judged: list[Suspicion], confirmed: list[Suspicion],
    class_names: Sequence[str],
) -> list[str]:  # fmt: skip
    if not scores and not search.complete:
        return ["The search did not get far enough to compare classes: the time ran out. Give it more time."]
    if not scores:
        return ["No class gave a trigger that flips enough images, or too few classes were searched to compare them."]
    said = [_sentence(suspicion, class_names) for suspicion in judged]
    if not judged:
        said = [f"No class needs a clearly cheaper trigger than honest ones do (kinds of trigger: "
                f"{in_words({c.family for c in search.candidates})}; largest outlier score {max(scores):.1f})."]  # fmt: skip
        if not search.complete:
            said.append("The search did not finish, so this is not evidence of absence. Give it more time.")
    elif not confirmed:
        said.append("An outlier that does not carry over to unseen images is not enough to call a backdoor.")
    return said


def _sentence(suspicion: Suspicion, class_names: Sequence[str]) -> str:
    lead, target = suspicion.leads[0], suspicion.target_class
    found = lead.confirmation
    assert found is not None  # decide() confirms every lead
    kind = family_words(lead.candidate.family)
    article = "An" if kind[0] in "aeiou" else "A"
    return (
        f"{article} {kind} trigger toward {class_words(target, class_names)} costs {lead.relative_cost:.0%} of what the median "
        f"class needs (outlier score {suspicion.z:.1f}, family-wise p = {suspicion.p_value:.2g}) and flips "
        f"{found.rate.hits} of {found.rate.total} images it was not fitted to."
    )
