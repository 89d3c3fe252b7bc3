"""The stages after detection: attend, unlearn, verify, export. Each adds its part to the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from auditor import attention
from auditor.domain import Attention, Check, Export, Unlearning, Verdict, Verification
from auditor.errors import OutputError
from auditor.events import FileWritten, Notice
from auditor.exporting import ONNX_TOLERANCE, describe, export_onnx, export_safetensors, onnx_parity
from auditor.pipeline.calibrating import FRESH, FRESH_PROFILE, bank_for
from auditor.pipeline.monitoring import make_monitor
from auditor.pipeline.pictures import stamped_arrays
from auditor.pipeline.probing import with_probes
from auditor.pipeline.session import Session, Steps, as_indices, say_time
from auditor.remedy import CHEAP, Case, find_remedy, parameters
from auditor.triggers import Trigger
from auditor.verification import Searchable

ONNX, SAFETENSORS = "sanitized.onnx", "sanitized.safetensors"
FEW_VERIFY = 20


def confirmed_triggers(session: Session) -> list[Trigger]:
    """The triggers to attend to and unlearn: the confirmed ones."""
    return [t for t, f in zip(session.triggers, session.result.triggers, strict=True) if f.confirmed]


def attend(session: Session) -> Steps:
    """Grad-CAM and TAR of the strongest confirmed trigger, before and, once sanitized, after."""
    triggers = confirmed_triggers(session)
    if not triggers:
        return
    work = as_indices(session.split.work) if session.split else session.fit
    found, arrays = attention.attend(
        session.model, triggers[0], session.images[work], session.labels[work].numpy(), seed=session.request.seed,
        sanitized=session.sanitized,
    )  # fmt: skip
    if found is None:
        yield Notice(message="TAR was not computed: this network puts out no convolutional map.", level="warning")
        session.limit("Attention was not measured: the network puts out no convolutional map.")
        return
    if session.run is not None:
        session.run.save_arrays("evidence/attention.npz", **arrays)
        found = replace(found, panels="evidence/attention.npz")
        for index, trigger in enumerate(session.triggers):
            session.run.save_arrays(f"evidence/stamped_{index}.npz", **stamped_arrays(session, trigger, work))
    session.update(attention=found)
    energy = (found.after or found.before).energy if found.before else None  # type: ignore[union-attr]
    if energy is not None and energy.mean is not None:
        when = "after unlearning" if found.after else "before unlearning"
        yield Notice(message=f"TAR {when}: {energy.mean:.2f} of the attention lies on the trigger "
                             f"({found.mask_area:.1%} of the image) at {found.layer}.")  # fmt: skip


def unlearn(session: Session, method: str) -> Steps:
    """Sanitize a copy of the suspect, judged by verification; keeps the best model either way."""
    case = removal_case(session)
    if case.basis == "cross_fitted":
        session.limit("With so few images verification is cross-fitted: each part was kept from a model of its own, and "
                      "the triggers they are tested with were synthesized on all of them.")  # fmt: skip
    remedy = yield from find_remedy(case, method, session.request.settings)
    session.sanitized = remedy.model
    session.pending = yield from with_probes(session, remedy.model, remedy.verification)
    yield from say_time(session, "unlearning and verifying: the best model so far is kept")
    made_by = remedy.made_by
    session.update(
        unlearning=Unlearning(
            method=remedy.method, tried=remedy.attempts, reconstruction=made_by is not None and made_by.is_reconstruction,
            parameters={} if made_by is None else parameters(made_by),
        )
    )  # fmt: skip


def removal_case(session: Session) -> Case:
    assert session.split is not None
    triggers, verdict = confirmed_triggers(session), session.result.verdict
    costs = null_costs(verdict)
    return Case(
        suspect=session.model, every_image=session.images, every_label=session.labels,
        folds=[(as_indices(w), as_indices(v)) for w, v in session.split.folds], basis=session.split.basis,
        triggers=triggers, monitor=make_monitor(session, triggers), seed=session.request.seed, control=session.control,
        null_costs=costs, near=near_families(verdict, costs),
        search=Searchable(images=session.images, labels=session.labels, classes=session.classes,
                          budget=FRESH, seed=session.request.seed, bank=bank_for(session, FRESH_PROFILE)),
    )  # fmt: skip


def null_costs(verdict: Verdict | None) -> dict[str, float]:
    """What triggers toward the classes that are no target cost in the middle, by family."""
    costs: dict[str, list[float]] = {}
    for evidence in verdict.per_class if verdict else []:
        known = evidence.cost if evidence.cost is not None else evidence.cost_bound
        if verdict and known is not None and evidence.target_class not in verdict.target_classes:
            costs.setdefault(evidence.family, []).append(known)
    return {family: median(found) for family, found in costs.items()}


def near_families(verdict: Verdict | None, null_costs: Mapping[str, float]) -> list[str]:
    """The families in which a target is reached at less than CHEAP of what other classes cost; of pixels, not of features,
    whose generator takes long to train and whose triggers cost accuracy."""
    found = {e.family for e in (verdict.per_class if verdict else []) if verdict and e.target_class in verdict.target_classes
             and e.cost is not None and e.cost < CHEAP * null_costs.get(e.family, 0.0)}  # fmt: skip
    return sorted(found - {"feature"})


def export(session: Session) -> Steps:
    """Write the sanitized model and measure ONNX parity, which completes the verification.

    What passes is written as sanitized.*; what does not stays in evidence/ for a closer look.
    """
    pending, model = session.pending, session.sanitized
    if pending is None or model is None:
        return
    if session.run is None:
        session.update(verification=pending)
        return
    folder = "evidence/candidate_" if not pending.passed else "evidence/staged_"
    names = (folder + ONNX, folder + SAFETENSORS)
    exports, parity = _write(session, names)
    verification = replace(pending, checks=[*pending.checks, parity], passed=pending.passed and parity.passed,
                           tar=_tar(session.result.attention))  # fmt: skip
    session.update(verification=verification)
    _say_how_few(session, verification)
    if verification.passed:
        exports = [_promote(session, export_) for export_ in exports]
    session.update(exports=exports)
    for export_ in exports:
        yield FileWritten(path=export_.path, what="sanitized model" if verification.passed else "rejected candidate")


def _say_how_few(session: Session, verification: Verification) -> None:
    """Where the images that triggers were tried on are too few for a rate, all or those of a class that they act on."""
    tried = verification.attack_success_rate.before
    if len(session.split.verify if session.split else []) < FEW_VERIFY:
        session.limit(f"Verification rests on fewer than {FEW_VERIFY} images: read its intervals, not its rates.")
    elif tried is not None and tried.total < FEW_VERIFY:
        session.limit(f"The triggers were verified on {tried.total} images, those of a class that they act on: too few to tell "
                      "whether they still work now and then.")  # fmt: skip


def _write(session: Session, names: tuple[str, str]) -> tuple[list[Export], Check]:
    run, model = session.run, session.sanitized
    assert run is not None and model is not None
    onnx_path, tensor_path = (run.target(name) for name in names)
    export_safetensors(model, tensor_path, keys=session.keys or None, metadata=provenance(session))
    exports = [describe(tensor_path, "safetensors", root=run.path)]
    try:
        export_onnx(model, onnx_path, metadata=provenance(session), embed_preprocessing=session.request.embed_preprocessing)
        parity = onnx_parity(model, onnx_path, _parity_images(session), embed_preprocessing=session.request.embed_preprocessing)
    except OutputError as error:
        return exports, Check(name="ONNX says the same", passed=False, measured=error.what, allowed="identical answers")
    agreed = parity.argmax_agreement
    good = agreed.hits == agreed.total and parity.max_abs_logit_difference < ONNX_TOLERANCE
    check = Check(
        name="ONNX says the same", passed=good,
        measured=f"{agreed.hits} of {agreed.total} answers equal, logits differ by at most {parity.max_abs_logit_difference:.1e}",
        allowed=f"all equal, at most {ONNX_TOLERANCE:.0e}",
    )  # fmt: skip
    return [describe(onnx_path, "onnx", parity, root=run.path), *exports], check


def _parity_images(session: Session) -> torch.Tensor:
    """Clean and triggered images: both must be answered alike."""
    stamped = [trigger.stamp(session.images) for trigger in confirmed_triggers(session)[:1]]
    return torch.cat([session.images, *stamped])


def _promote(session: Session, written: Export) -> Export:
    """Move a staged file to its final name; only a model that passed has one."""
    assert session.run is not None
    name = written.path.removeprefix("evidence/staged_")
    source = session.run.path / written.path
    source.replace(session.run.target(name))
    return replace(written, path=name)


def provenance(session: Session) -> dict[str, str]:
    """What an exported file says of itself."""
    artifact, verdict = session.result.artifact, session.result.verdict
    passed = session.pending.passed if session.pending else False
    return {
        "auditor.version": session.result.tool.version, "auditor.audited": "true",
        "auditor.suspect_sha256": artifact.sha256 if artifact else "",
        "auditor.verdict": verdict.label if verdict else "", "auditor.verified": str(passed).lower(),
        "auditor.method": session.result.unlearning.method if session.result.unlearning else "",
    }  # fmt: skip


def _tar(found: Attention | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"before": found.before.energy if found.before else None, "after": found.after.energy if found.after else None}

