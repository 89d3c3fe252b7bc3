"""The result of an audit as values, and the exit code each outcome means.

Every dataclass here is one object of `result.json`; field names are its keys. Arrays live
in the run folder under `evidence/`, and results name them by their path relative to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = "1.0"
FAMILY_WORDS = {
    "patch": "patch", "additive": "additive", "lowfreq": "smooth additive", "warp": "warping",
    "feature": "input-dependent",
}  # fmt: skip

VerdictLabel = Literal["backdoored", "no_evidence", "inconclusive"]
BackdoorKind = Literal["all_to_one", "source_specific", "all_to_all", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A proportion with its count and 95 % Wilson interval; `rate` is None when total is 0."""

    hits: int
    total: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """One measured rate before and after unlearning."""

    before: Rate | None = None
    after: Rate | None = None


@dataclass(frozen=True, kw_only=True)
class Tool:
    name: str
    version: str
    python: str
    torch: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """How the audit was run. `seconds` maps stage name to wall-clock seconds."""

    argv: list[str]
    seed: int
    device: str
    dtype: str
    threads: int
    profile: str
    started: str
    seconds: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    path: str
    bytes: int
    sha256: str
    format: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact about the file. `severity`: info, warning or danger; `kind` is a stable name."""

    severity: Literal["info", "warning", "danger"]
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class FileSafety:
    """What opening the file involved. `status`: safe, findings or dangerous.

    `stubbed` lists the names the pickle asked for that were replaced by inert stubs. `details`
    is what `inspect` lists (imports, archive members, tensors); empty in an audit.
    """

    status: Literal["safe", "findings", "dangerous"]
    findings: list[Finding] = field(default_factory=list)
    stubbed: list[str] = field(default_factory=list)
    tensors: int = 0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Per-channel mean and standard deviation in [0, 1] units."""

    mean: list[float]
    std: list[float]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`how`: given, inferred, factory or module; `normalization_how`: given, inferred or default."""

    name: str
    how: str
    num_classes: int
    input_shape: list[int]
    normalization: Normalization
    normalization_how: str = "given"
    clean_accuracy: Rate | None = None
    parameters: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The user's clean images. `sha256` hashes all pixels and labels in order."""

    path: str
    count: int
    labelled: bool
    sha256: str
    work: int
    verify: int
    class_names: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ClassEvidence:
    """What one trigger family cost toward one class, and how far it stands out.

    `cost` is the smallest cost found that flips nearly all work images, or None when none did.
    `cost_bound` is then the cost at which it still did not. `anomaly_index` is the robust z-score of
    log cost on the low side (larger: more suspicious), where the bank knows the data set of what is
    left of its class profile; `p_value` is family-wise over classes.
    """

    target_class: int
    family: str
    cost: float | None
    attack_success_rate: float
    anomaly_index: float | None = None
    p_value: float | None = None
    shared_share: float | None = None
    cost_bound: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of detection. `score` in [0, 1] ranks suspicion; `calibration` is None
    until a bank of ordinary and backdoored models stands behind it."""

    label: VerdictLabel
    score: float | None
    kind: BackdoorKind | None = None
    target_classes: list[int] = field(default_factory=list)
    source_classes: list[int] = field(default_factory=list)
    mapping: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    per_class: list[ClassEvidence] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TriggerFinding:
    """A synthesized trigger; `evidence` is its .npz, `picture` the .png of its pixels, and
    `stamped` the pictures of clean images with it, with the model's predictions.

    `attack_success_rate` is measured on images the search did not see.
    """

    target_class: int
    family: str
    cost: float
    attack_success_rate: Rate
    confirmed: bool
    source_classes: list[int] = field(default_factory=list)
    anomaly_index: float | None = None
    evidence: str = ""
    mask_area: float | None = None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over images with a bootstrap 95 % interval; None where undefined."""

    mean: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, kw_only=True)
class TarMeasurement:
    """Trigger Attention Ratio of one model at one layer (a reconstruction; see attention.py).

    `energy` is the share of Grad-CAM energy inside the mask, `ratio` the mean inside over the
    mean outside, `lift` the energy over the mask's area, `normalized` the energy rescaled for
    the layer's resolution. Controls: `random_mask` (equal area) and `clean_images` (same mask).
    `coverage` is the share of images whose heat-map is not all zero; `class_rule` says whose heat
    it is: that of the class each model predicted, or of the trigger's target.
    """

    energy: Interval
    ratio: Interval
    lift: Interval
    normalized: Interval
    random_mask: Interval
    clean_images: Interval
    coverage: float
    class_rule: Literal["predicted", "target"] = "predicted"


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Grad-CAM evidence. `meaningful` is False when the trigger covers over 40 % of the image;
    `before_target` and `after_target` are TAR with the class fixed to the trigger's target."""

    layer: str
    layer_rule: str
    meaningful: bool
    mask_area: float
    before: TarMeasurement | None = None
    after: TarMeasurement | None = None
    before_target: TarMeasurement | None = None
    after_target: TarMeasurement | None = None
    panels: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One unlearning method tried, and what verification made of it."""

    method: str
    parameters: dict[str, Any]
    seconds: float
    accepted: bool
    reason: str
    clean_accuracy: Rate | None = None
    proxy_attack_success_rate: Rate | None = None
    parameters_changed: int = 0


@dataclass(frozen=True, kw_only=True)
class Unlearning:
    method: str
    parameters: dict[str, Any]
    tried: list[Attempt] = field(default_factory=list)
    reconstruction: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of `passed`, with what was measured against what was allowed."""

    name: str
    passed: bool
    measured: str
    allowed: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One attempt to wake an unlearned backdoor with its own trigger, on images held out from the attempt.

    `name`: relearning (`steps` of fine-tuning on a few triggered images) or reactivation (`steps` of a search for
    a small perturbation beside the trigger). `attack_success_rate` is that toward the former target, `reference`
    that of the same attempt toward `reference_classes`, which were no target, pooled. The curves, where there are
    any, hold both rates after every step.
    """

    name: Literal["relearning", "reactivation"]
    target_class: int
    family: str
    steps: int
    attack_success_rate: Rate
    reference: Rate
    reference_classes: list[int]
    is_weakness: bool
    finding: str
    curve: list[float] = field(default_factory=list)
    reference_curve: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A sanitized model measured afresh. `basis`: held_out or cross_fitted.

    `probes` ask how hard the backdoor is to wake; `weaknesses` are the sentences of those that woke it. They warn,
    and are no part of `passed`.
    """

    basis: str
    clean_accuracy: Change
    attack_success_rate: Change
    tar: dict[str, Interval | None] = field(default_factory=dict)
    recovered_accuracy: Change | None = None
    verdict: VerdictLabel | None = None
    checks: list[Check] = field(default_factory=list)
    fresh_search: list[ClassEvidence] = field(default_factory=list)
    passed: bool = False
    probes: list[Probe] = field(default_factory=list)
    weaknesses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Export:
    path: str
    format: str
    bytes: int
    sha256: str
    max_abs_logit_difference: float | None = None
    argmax_agreement: Rate | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the audit cost. `flops` are of the suspect's forward and backward passes."""

    seconds: float
    forward_images: int
    backward_images: int
    flops: int
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class ErrorRecord:
    kind: str
    what: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """Everything an audit found: the content of `result.json`. Parts not reached are None."""

    schema_version: str
    tool: Tool
    run: Run
    artifact: Artifact | None = None
    file_safety: FileSafety | None = None
    architecture: Architecture | None = None
    images: ImageSet | None = None
    verdict: Verdict | None = None
    triggers: list[TriggerFinding] = field(default_factory=list)
    attention: Attention | None = None
    unlearning: Unlearning | None = None
    verification: Verification | None = None
    exports: list[Export] = field(default_factory=list)
    cost: Cost | None = None
    limits: list[str] = field(default_factory=list)
    errors: list[ErrorRecord] = field(default_factory=list)
    reproduce: str = ""


def class_words(index: int, names: Sequence[str]) -> str:
    """A class in a sentence: `class 3 (cat)`, or `class 3` where it has no name."""
    return f"class {index}" + (f" ({names[index]})" if index < len(names) else "")


def family_words(family: str) -> str:
    """A trigger family as people say it, to stand before "trigger"; a name that we do not know, as it is."""
    return FAMILY_WORDS.get(family, family.replace("_", " "))


def exit_code(verdict: Verdict | None, *, sanitized: bool = False) -> int:
    """The exit code of a verdict: 0 policy met, 1 backdoor found and not removed, 3 inconclusive."""
    if verdict is None or verdict.label == "inconclusive":
        return 3
    if verdict.label == "no_evidence" or sanitized:
        return 0
    return 1
