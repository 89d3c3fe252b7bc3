"""Sentences that several screens say: the verdict and its reasons, attention with its control."""

from __future__ import annotations

from rich.text import Text

from auditor.domain import Attention
from auditor.report.text import number, percent
from auditor.report.triggers import leads
from auditor.report.words import judge
from auditor.tui.state import RunState
from auditor.tui.text import DONE, FAILED, NOTE, STYLES, WARNING, interval_text, marked, shown

MARKS = {"found": FAILED, "held": DONE, "unknown": WARNING, "none": NOTE}
_LABELS = {"backdoored": ("found", "Backdoor found"), "no_evidence": ("held", "No evidence of a backdoor"),
           "inconclusive": ("unknown", "Inconclusive")}  # fmt: skip
MOST_REASONS = 8


def verdict_words(state: RunState) -> Text:
    """The label, one sentence, and each reason on a line; what is known while the run goes on."""
    said = [label_line(state)]
    verdict = state.verdict
    if verdict is not None:
        said += [marked(NOTE, reason, 300) for reason in verdict.reasons[:MOST_REASONS]]
        if verdict.score is not None:
            basis = "calibrated" if verdict.calibration else "uncalibrated"
            said.append(marked(NOTE, f"Suspicion {number(verdict.score)} on a scale from 0 to 1 ({basis})."))
    attention = state.result.attention if state.result else None
    if attention is not None:
        said += [marked(NOTE, sentence) for sentence in attention_sentences(attention)]
    return Text("\n").join(said)


def label_line(state: RunState) -> Text:
    """The verdict in a word and a sentence."""
    if state.result is not None:
        outcome = judge(state.result)
        mark, label = MARKS[outcome.mark], outcome.label
    elif state.verdict is not None:
        name, label = _LABELS[state.verdict.label]
        mark = MARKS[name]
    else:
        return Text("No verdict yet.", style="dim")
    return Text.assemble((f"{mark} {label}", STYLES[mark]), headline(state))


def headline(state: RunState) -> str:
    """What the label means for this model, to follow it."""
    verdict = state.verdict
    if verdict is None or verdict.label == "inconclusive":
        return ". The model may or may not carry a backdoor."
    if verdict.label == "no_evidence":
        return ". Nothing that was searched for stands out; this is not proof of absence."
    return f"{shown(leads(verdict, state.names), 120)}."


def again(state: RunState) -> str:
    """What the key for it does about a verb that ended early."""
    return "r resumes" if state.is_cancelled else "r tries again"


def attention_sentences(attention: Attention) -> list[str]:
    """TAR beside its controls, before and after."""
    before, after = attention.before, attention.after
    if before is None:
        return []
    said = [f"Trigger Attention Ratio {interval_text(before.energy)}: the share of attention on the trigger, which covers "
            f"{percent(attention.mask_area)} of the image. A random place of that size gets {interval_text(before.random_mask)}, "
            f"the same place on clean images {interval_text(before.clean_images)}."]  # fmt: skip
    if after is not None:
        said.append(f"After unlearning it is {interval_text(after.energy)}.")
    if not attention.meaningful:
        said.append("The trigger covers so much of the image that this ratio says little.")
    return said
