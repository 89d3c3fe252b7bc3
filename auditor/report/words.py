"""Says in plain words what an audit result means and what to do next.

Nothing here calls a model safe or clean: the strongest good news is that nothing was found,
or that what was found was removed and the removal was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from auditor.domain import AuditResult, Verification, family_words
from auditor.report.text import ClassNames, in_words, percent, shorten, words
from auditor.report.triggers import alike_with, answers, as_one, leads, rate_together, strongest

Situation = Literal[
    "not_opened", "not_run", "interrupted", "no_verdict", "inconclusive", "no_evidence",
    "sanitized", "not_removed", "not_attempted",
]  # fmt: skip
Mark = Literal["found", "held", "unknown", "none"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict box: the label in words, what happened next, and a shape for each."""

    situation: Situation
    label: str
    mark: Mark
    follow_up: str
    follow_up_mark: Mark
    has_backdoor: bool


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The one-page summary; each part is a list of paragraphs or steps."""

    finding: list[str]
    attacker: list[str]
    done: list[str]
    next_steps: list[str] = field(default_factory=list)


def really_passed(verification: Verification | None) -> bool:
    """True when verification passed and each of its checks says so too."""
    return verification is not None and verification.passed and all(c.passed for c in verification.checks)


def judge(result: AuditResult) -> Outcome:
    """The outcome a reader must not miss."""
    situation = _situation(result)
    label, mark = _LABELS[situation]
    has_backdoor = situation in {"sanitized", "not_removed", "not_attempted"}
    if has_backdoor and result.verdict is None:
        label, mark = "No verdict: the trigger was given, not searched for", "unknown"
    if result.file_safety is not None and result.file_safety.status == "dangerous":
        mark = "found"
    follow_up, follow_up_mark = _follow_up(result, situation)
    return Outcome(
        situation=situation, label=label, mark=mark, follow_up=follow_up, follow_up_mark=follow_up_mark,
        has_backdoor=has_backdoor,
    )  # fmt: skip


_LABELS: dict[Situation, tuple[str, Mark]] = {
    "not_opened": ("No verdict: the file cannot be opened safely", "unknown"),
    "not_run": ("No verdict: the audit could not run", "unknown"),
    "interrupted": ("No verdict: the audit was interrupted", "unknown"),
    "no_verdict": ("No detection verdict", "unknown"),
    "inconclusive": ("Inconclusive", "unknown"),
    "no_evidence": ("No evidence of a backdoor", "none"),
    "sanitized": ("Backdoor found", "found"),
    "not_removed": ("Backdoor found", "found"),
    "not_attempted": ("Backdoor found", "found"),
}


def _situation(result: AuditResult) -> Situation:
    attempted = result.verification is not None or result.unlearning is not None
    if result.verdict is None and not (attempted and result.run.exit_code in {None, 0, 1}):
        stops: dict[int | None, Situation] = {4: "not_opened", 3: "inconclusive", 2: "not_run", 130: "interrupted"}
        return stops.get(result.run.exit_code, "no_verdict")
    if result.verdict is not None and result.verdict.label != "backdoored":
        return result.verdict.label
    if really_passed(result.verification):
        return "sanitized"
    return "not_removed" if attempted else "not_attempted"


def _follow_up(result: AuditResult, situation: Situation) -> tuple[str, Mark]:
    if really_passed(result.verification):
        return "Sanitized and verified", "held"
    if result.verification is not None:
        return "Not removed: the sanitized candidate did not pass verification", "found"
    if result.unlearning is not None:
        return "Not removed: sanitizing did not finish", "found"
    if situation == "not_attempted":
        return "Sanitizing was not attempted", "none"
    return ("Nothing was found to remove" if situation == "no_evidence" else "Nothing was changed"), "none"


def summarize(result: AuditResult, outcome: Outcome, names: ClassNames) -> Summary:
    """The summary in words a non-specialist can act on."""
    return Summary(
        finding=_finding(result, outcome, names),
        attacker=_attacker(result, outcome, names),
        done=_done(result),
        next_steps=_next_steps(result, outcome),
    )


def _finding(result: AuditResult, outcome: Outcome, names: ClassNames) -> list[str]:
    verdict = result.verdict
    match outcome.situation:
        case "sanitized" | "not_removed" | "not_attempted":
            if verdict is None:
                return ["The trigger was given by the user, so the model was not searched for others."]
            confirmed = sum(alike[0].confirmed for alike in as_one(result.triggers))
            triggers = "1 trigger was" if confirmed == 1 else f"{confirmed} triggers were"
            return [f"The model carries a backdoor{leads(verdict, names)}. {triggers} synthesized and confirmed on unseen images."]
        case "no_evidence":
            return [_NO_EVIDENCE]
        case "inconclusive":
            reasons = verdict.reasons if verdict else []
            return ["The audit could not decide either way.", *reasons[:3]]
        case "not_opened":
            return ["The file could not be opened safely, so the network inside was never run."]
        case "interrupted":
            return ["The audit was stopped before it reached a verdict; what it had measured is below."]
    return ["The audit stopped before it reached a verdict."]


_NO_EVIDENCE = (
    "The searches listed under Scope found no trigger that stands out. This is not proof of absence: "
    "a backdoor of a kind that was not searched for would not show."
)


def _attacker(result: AuditResult, outcome: Outcome, names: ClassNames) -> list[str]:
    trigger = strongest(result)
    if outcome.has_backdoor and trigger is not None:
        alike = alike_with(trigger, result.triggers)
        said = (
            f"Anyone who knows the trigger can put it on an image {answers(alike, names)}. The synthesized "
            f"{family_words(trigger.family)} trigger did so on {in_words(rate_together(alike))} of images the search had not seen."
        )
        area = "" if trigger.mask_area is None else f"It covers {percent(trigger.mask_area)} of the image. "
        return [said, f"{area}Ordinary images give no sign of it."]
    if outcome.has_backdoor:
        return ["Anyone who knows the trigger can choose the model's answer; ordinary images give no sign of it."]
    if outcome.situation == "not_opened":
        return ["A file of this kind can run code of its maker's choice on the machine that opens it carelessly."]
    if outcome.situation == "no_evidence":
        return ["We know of nothing an attacker could use. Ways of attack that were not tested are listed under Scope."]
    return ["Unknown. As long as the audit has no verdict, assume that a backdoor is possible."]


def _done(result: AuditResult) -> list[str]:
    said = []
    safety = result.file_safety
    if safety is not None:
        opened = "was refused" if safety.status == "dangerous" else "was opened without running code from it"
        said.append(f"The file {opened}.")
    if result.verdict is not None and result.images is not None:
        said.append(
            f"Every class was searched for triggers with {result.images.work} clean images; "
            f"{result.images.verify} more were held back for verification."
        )
    if result.unlearning is not None:
        said.append(_unlearned(result))
    return said or ["The audit stopped before any measurement."]


def _unlearned(result: AuditResult) -> str:
    method = shorten(words(result.unlearning.method), 60) if result.unlearning else ""
    verification = result.verification
    if verification is None:
        return f"The backdoor was to be unlearned with {method}; this did not finish."
    asr, accuracy = verification.attack_success_rate, verification.clean_accuracy
    worked = "The backdoor was" if really_passed(verification) else "We tried to have the backdoor"
    said = f"{worked} unlearned with {method}, and the result was measured afresh."
    if asr.before and asr.after and accuracy.before and accuracy.after:
        said += (
            f" The trigger worked on {percent(asr.before.rate)} of images before and {percent(asr.after.rate)} after; "
            f"accuracy on clean images went from {percent(accuracy.before.rate)} to {percent(accuracy.after.rate)}."
        )
    return said


def _next_steps(result: AuditResult, outcome: Outcome) -> list[str]:
    asked = [shorten(e.next_step, 300) for e in result.errors if e.next_step]
    return list(dict.fromkeys(asked + _STEPS[outcome.situation]))[:6]


_STEPS: dict[Situation, list[str]] = {
    "sanitized": [
        "Withdraw the original file wherever it is in use; its sha256 is on the cover.",
        "Deploy only the sanitized files listed under Exports, and compare their sha256 first.",
        "Ask where the model came from: other models of the same source deserve the same audit.",
        "Read the limits, then record your decision in the sign-off block.",
    ],
    "not_removed": [
        "Do not deploy this model, nor the candidate kept in the evidence folder.",
        "Obtain the model again from a source you can vouch for, or retrain it.",
        "If neither is possible, repeat the audit with more clean images or the deep profile.",
    ],
    "not_attempted": [
        "Do not deploy this model.",
        "Run a full audit to attempt a sanitized model, or obtain the model from another source.",
    ],
    "no_evidence": [
        "Weigh the scope and the limits against what the model will decide.",
        "For a model that matters, repeat with more clean images and the deep profile.",
        "Keep this report with the model; it speaks only for the sha256 on the cover.",
    ],
    "inconclusive": [
        "Do not deploy on the strength of this report.",
        "Address the reasons above and run the audit again.",
    ],
    "not_opened": [
        "Do not open the file with any other tool outside a sandbox.",
        "Ask the supplier for the weights as safetensors, or as a plain state dict.",
    ],
    "not_run": ["Correct the cause named below and run the audit again."],
    "interrupted": ["Run the same command again; it resumes where it stopped."],
    "no_verdict": ["Run a full audit to obtain a verdict."],
}
