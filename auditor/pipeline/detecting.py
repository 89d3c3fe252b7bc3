"""The detection stage: searches every family toward every class, and reaches a verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.datafree.rows import last_layer_rows
from auditor.domain import TriggerFinding, Verdict
from auditor.errors import InconclusiveError, InputError
from auditor.events import CandidateFound, Notice, VerdictReached
from auditor.files import inside
from auditor.pipeline.calibrating import bank_for
from auditor.pipeline.session import Session, Steps, evenly, say_time
from auditor.plain import from_plain, to_plain
from auditor.search.budgets import MOST_CLASSES, PROFILES
from auditor.search.shared import SharedSearch, shared_search
from auditor.search.shortlist import classes_to_search
from auditor.search.sources import STARTS, THOROUGH_STARTS, right, search_sources
from auditor.search.synthesis import SearchResult, synthesize
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.twin import make_twin
from auditor.verdict.decision import Decision, decide
from auditor.verdict.removability import removability, with_removability
from auditor.verdict.sources import best_first, weigh_steps, with_sources
from auditor.verdict.weighing import weigh
from auditor.verdict.weighing_pairs import weigh_pairs

TWIN_AGREES = 0.02
PAIRS_FROM = 5  # images a class, verification's apart: what fewer tell of a pair is mostly noise
MOST_SHARED = 52  # images of the twin and of the search it shares: they cost by the image, the synthesis by the step


def detect(session: Session) -> Steps:
    """Search every family toward every class, and reach a verdict."""
    if _restore_detection(session):
        yield Notice(message="Detection was finished earlier; its result is used again.")
    elif session.result.verdict is None:
        decision = yield from _search_and_decide(session)
        session.triggers = decision.triggers
        session.update(verdict=decision.verdict, triggers=_save_triggers(session, decision))
        for finding in session.result.triggers:
            yield CandidateFound(
                target_class=finding.target_class, family=finding.family, cost=finding.cost,
                attack_success_rate=finding.attack_success_rate.rate or 0.0, confirmed=finding.confirmed,
                evidence=finding.evidence,
            )  # fmt: skip
        # Searching on would not take back a backdoor that was confirmed before a stop; another verdict it might.
        if session.run and (decision.verdict.label == "backdoored" or not session.control.stop_requested):
            parts = {"verdict": session.result.verdict, "triggers": session.result.triggers, "limits": session.result.limits}
            session.run.finish_stage("detect", to_plain(parts))
        yield from say_time(session, "searching: what was not reached counts as not tested")
    verdict = session.result.verdict
    assert verdict is not None
    session.limit(*verdict.untested)
    if verdict.calibration is None:
        session.limit("The score is uncalibrated: it ranks suspicion, and no error rate stands behind it yet.")
    yield VerdictReached(verdict=verdict)


def _search_and_decide(session: Session) -> Steps:
    suspect, fit = session.model, session.fit
    images, labels = session.images[fit], session.labels[fit]
    shared, prior = (yield from _shared(session)), _prior(suspect)
    session.classes = classes_to_search(suspect.num_classes, shared, session.request.targets, session.request.seed,
                                        exhaustive=session.request.exhaustive, prior=prior)  # fmt: skip
    if len(session.classes) < suspect.num_classes:
        session.limit(f"{len(session.classes)} of {suspect.num_classes} classes were searched: those that the shared search and "
                      "the last layer's rows, or --targets, point at, and a random sample to compare them with (--exhaustive "
                      "searches all).")  # fmt: skip
    bank = bank_for(session, session.request.profile, prior)
    found = yield from synthesize(
        suspect, images, labels, classes=session.classes, budget=PROFILES[session.request.profile],
        seed=session.request.seed, control=session.control, shared=shared,
        worth_refining=lambda result: bool(weigh(result, bank).suspicions),
    )  # fmt: skip
    decision = decide(suspect, found, session.images[session.hold], session.labels[session.hold], session.class_names,
                      session.request.targets, bank)  # fmt: skip
    if decision.verdict.label == "backdoored" and session.request.profile == "deep":
        return (yield from _with_removability(session, decision, found))
    return decision if decision.verdict.label == "backdoored" else (yield from _search_sources(session, decision))


def _with_removability(session: Session, decision: Decision, found: SearchResult) -> Steps:
    """What it would cost to unlearn the first trigger, beside triggers toward other classes."""
    first, fit, hold = decision.findings[0], session.fit, session.hold
    told = yield from removability(
        session.model, found.candidates, first.target_class, first.family, session.images[fit], session.labels[fit],
        session.images[hold], seed=session.request.seed, control=session.control,
    )  # fmt: skip
    return decision if told is None else replace(decision, verdict=with_removability(decision.verdict, told))


def _prior(suspect: Suspect) -> NDArray[np.float64] | None:
    """How far each class's row of the last layer stands out (K,), None where there is no such layer."""
    try:
        return last_layer_rows(suspect).mean_z
    except InconclusiveError:
        return None


def _search_sources(session: Session, decision: Decision) -> Steps:
    """What triggers that mind where an image comes from add: not in the quick profile, unless asked; those of one source class
    where there are images enough, or asked too; those of all to all not where only some targets are searched for."""
    request, fit, hold = session.request, session.fit, session.hold
    work = np.concatenate([fit, hold])
    with_pairs = request.sources or (request.profile != "quick" and len(work) >= PAIRS_FROM * session.model.num_classes)
    with_steps = (request.sources or request.profile != "quick") and not request.targets
    if session.model.num_classes > MOST_CLASSES or not (with_pairs or with_steps):
        return decision
    known = right(session.model, session.images[work], session.labels[work]) if with_pairs else None
    found = yield from search_sources(session.model, session.images[fit], session.labels[fit], seed=request.seed, control=session.control,
                                      with_steps=with_steps, pairs_on=known,
                                      starts=THOROUGH_STARTS if request.sources or request.profile == "deep" else STARTS)  # fmt: skip
    leads = weigh_steps(session.model, found, session.images[hold], session.labels[hold])
    if known is not None:
        leads += yield from weigh_pairs(session.model, found, *known, seed=request.seed, control=session.control, targets=request.targets)
    found = replace(found, complete=found.complete and not session.control.stop_requested)  # stopped while it looked once more
    return with_sources(decision, found, best_first(leads), session.class_names)


def _shared(session: Session) -> Steps:
    """The SAU-style search between the suspect and a twin made for it; None when the time is up."""
    if session.control.stop_requested:
        return None
    fit, seed = evenly(session.fit, session.labels, MOST_SHARED), session.request.seed
    twin = make_twin(session.model, session.images[fit], session.labels[fit], seed=seed)
    yield Notice(message=f"Twin {twin.how}; it disagrees with the suspect on {twin.disagreement:.0%} of noisy work images.")
    if twin.disagreement < TWIN_AGREES:
        session.limit("The twin hardly differs from the suspect, so the shared search saw little more than one model.")
    generator = torch.Generator().manual_seed(seed)
    found: SharedSearch = yield from shared_search(
        session.model, twin.suspect, session.images[fit], session.labels[fit], generator=generator,
        control=session.control,
    )  # fmt: skip
    return found


def _save_triggers(session: Session, decision: Decision) -> list[TriggerFinding]:
    if session.run is None:
        return decision.findings
    findings = []
    for index, (finding, trigger) in enumerate(zip(decision.findings, decision.triggers, strict=True)):
        name = f"evidence/trigger_{index}.npz"
        trigger.save(session.run.target(name))
        findings.append(replace(finding, evidence=name))
    return findings


def _restore_detection(session: Session) -> bool:
    """Take up a detection that an earlier run of the same command finished; False when there is none to use."""
    kept = session.run.stage("detect") if session.run else None
    if session.run is None or kept is None:
        return False
    try:
        verdict = from_plain(Verdict, kept["verdict"])
        findings = [from_plain(TriggerFinding, item) for item in kept["triggers"]]
        triggers = [Trigger.load(inside(session.run.path, finding.evidence)) for finding in findings]
        classes, limits = sorted({e.target_class for e in verdict.per_class}), list(kept["limits"])
    except (InputError, OSError, KeyError, TypeError, AttributeError, ValueError):
        return False  # damaged since: the search is run again
    session.triggers, session.classes = triggers, classes
    session.update(verdict=verdict, triggers=findings)
    session.limit(*limits)
    return True
