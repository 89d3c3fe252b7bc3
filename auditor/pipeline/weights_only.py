"""Detection without a clean image: what the weights alone tell. It ranks suspicion and never decides."""

from __future__ import annotations

from auditor.datafree import DataFreeEvidence, class_consensus, data_free_evidence, data_free_score
from auditor.domain import Verdict
from auditor.errors import InconclusiveError
from auditor.events import VerdictReached
from auditor.pipeline.session import Session, Steps

UNTESTED = "Behaviour on images: without clean ones only the file, its architecture and its weights were examined."


def detect_without_images(session: Session) -> Steps:
    """An inconclusive verdict whose score ranks the weights' suspicion, where they allow one."""
    try:
        evidence = data_free_evidence(session.model, seed=session.request.seed)
    except InconclusiveError:
        verdict = _verdict(session, None)
    else:
        verdict = _verdict(session, evidence)
    session.update(verdict=verdict)
    session.limit(*verdict.untested)
    yield VerdictReached(verdict=verdict)


def _verdict(session: Session, evidence: DataFreeEvidence | None) -> Verdict:
    score = data_free_score(evidence) if evidence else None
    reasons = ["There are no clean images, so the model's behaviour was not examined. Give some with --clean PATH."]
    if evidence is None or score is None:
        reasons.append("The weights of the last layer allow no ranking either.")
    else:
        top = int(class_consensus(evidence).argmax())
        name = f"class {top}" + (f" ({session.class_names[top]})" if top < len(session.class_names) else "")
        reasons.append(f"By its weights alone {name} stands out most (rank {score:.2f}; honest models reach about 0.5). "
                       "This points where to look and proves nothing.")  # fmt: skip
    return Verdict(label="inconclusive", score=score, reasons=reasons, untested=[UNTESTED])
