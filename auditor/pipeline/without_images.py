"""Detection without a clean image: by the weights, and on images made by a rule. It ranks suspicion and never decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from auditor.datafree.margins import maximum_margins
from auditor.datafree.rows import last_layer_rows
from auditor.datafree.stand_ins import stand_ins
from auditor.domain import Verdict, class_words, family_words
from auditor.errors import InconclusiveError
from auditor.events import Notice, VerdictReached
from auditor.pipeline.calibrating import bank_for
from auditor.pipeline.session import Session, Steps, say_time
from auditor.search.budgets import PROFILES
from auditor.search.shortlist import classes_to_search
from auditor.search.synthesis import synthesize
from auditor.verdict.calibration import Bank, calibration_record
from auditor.verdict.decision import calibrated_sentence
from auditor.verdict.statistics import MIN_CLASSES
from auditor.verdict.weighing import Weighed, weigh

STAND_INS = 64
TABLE, BUDGET = "standard", PROFILES["quick"]  # whatever the profile: what stand-ins tell ends before more steps do
# Beyond, a search would take long for what only ranks: 64 classes at 32x32.
MOST_PIXELS = 64 * 32 * 32
MARGIN_STANDS_OUT = 3.0  # robust deviations
UNTESTED = "Behaviour on real images: without clean ones triggers were tried on made-up images at most."


def detect_without_images(session: Session) -> Steps:
    """An inconclusive verdict whose score ranks how much the network looks like a backdoored one, where it allows that."""
    try:
        verdict = yield from _ranked(session, last_layer_rows(session.model).mean_z)
    except InconclusiveError as error:
        verdict = _verdict(f"Nothing is ranked: {error.what[:1].lower()}{error.what[1:]}")
    session.update(verdict=verdict)
    session.limit(*verdict.untested)
    yield VerdictReached(verdict=verdict)


def _ranked(session: Session, rows_z: np.ndarray) -> Steps:
    suspect, request = session.model, session.request
    if suspect.num_classes < MIN_CLASSES:
        raise InconclusiveError(f"Of {suspect.num_classes} classes none can be told from the others.", "It takes four.")
    bank = bank_for(session, TABLE, rows_z)
    if bank is None or suspect.num_classes * suspect.input_shape[1] * suspect.input_shape[2] > MOST_PIXELS:
        z_k = np.nan_to_num(rows_z)
        return _verdict(f"In its last layer the row of {class_words(int(z_k.argmax()), session.class_names)} has the largest "
                        f"mean (outlier score {z_k.max():.1f}): that points where to look and proves nothing.")  # fmt: skip
    images, answers = stand_ins(suspect, STAND_INS, seed=request.seed)
    yield Notice(message=f"Searching on {len(images)} made-up images, to which the suspect gives {len(set(answers.tolist()))} answers.")
    classes = classes_to_search(suspect.num_classes, None, request.targets, request.seed, exhaustive=request.exhaustive, prior=rows_z)
    found = yield from synthesize(suspect, images, answers, classes=classes, budget=BUDGET, seed=request.seed, control=session.control)
    yield from say_time(session, "searching made-up images: the rank rests on what was reached")
    verdict = _weighed_verdict(session, weigh(found, bank), bank)
    return replace(verdict, reasons=[*verdict.reasons, *_margin_sentence(session)])


def _weighed_verdict(session: Session, weighed: Weighed, bank: Bank) -> Verdict:
    if not weighed.scores:
        return _verdict("The search did not get far enough to rank anything.")
    ranked = {k: score for k, score in weighed.scores.items() if k in (session.request.targets or weighed.scores)}
    top, score = max(ranked.items(), key=lambda item: item[1])
    own = [e for e in weighed.evidence if e.target_class == top and e.anomaly_index is not None]
    said = f"It is {class_words(top, session.class_names)} that stands out most"
    if own:
        best = max(own, key=lambda e: e.anomaly_index or 0.0)
        said += f", by {family_words(best.family)} triggers on made-up images (outlier score {best.anomaly_index:.1f})"
    verdict = _verdict(f"{said}. That points where to look and proves nothing.", calibrated_sentence(bank, score))
    return replace(verdict, score=score, per_class=weighed.evidence,
                   calibration=calibration_record(bank, score, weighed.profile, weighed.slope))  # fmt: skip


def _margin_sentence(session: Session) -> list[str]:
    """Whose logit any input at all can lift furthest above the others; a second opinion, which the score leaves out."""
    if session.control.stop_requested:
        return []
    z_K = np.nan_to_num(maximum_margins(session.model, seed=session.request.seed).z)
    top = int(z_K.argmax())
    said = f"The largest margin that an input can reach is that of {class_words(top, session.class_names)} (outlier score {z_K[top]:.1f})."
    return [said] if z_K[top] >= MARGIN_STANDS_OUT else []


def _verdict(*reasons: str) -> Verdict:
    first = "There are no clean images, so no trigger could be confirmed. Give some with --clean PATH."
    return Verdict(label="inconclusive", score=None, reasons=[first, *reasons], untested=[UNTESTED])
