"""What a person asks for: one value for all verbs, whether it came from flags, from Python or from the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Profile = Literal["quick", "standard", "deep"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The verbs' flags, by their long names.

    `model` and `clean` are paths; `output` is the run folder (or the file, for `export`).
    `mean` and `std` override `normalize`; None everywhere means "work it out, and say so".
    `settings` are hyper-parameters of `method`, by field name.
    """

    model: str
    clean: str | None = None
    output: str | None = None
    arch: str | None = None
    factory: str | None = None
    allow_code: bool = False
    num_classes: int | None = None
    input_size: int | None = None
    normalize: Literal["cifar10", "imagenet", "none"] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    classes: str | None = None
    targets: list[int] | None = None
    exhaustive: bool = False
    sources: bool = False
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    profile: Profile = "standard"
    time_budget_s: float | None = None
    method: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    trigger: str | None = None
    against: str | None = None
    embed_preprocessing: bool = False
    force: bool = False
    argv: list[str] = field(default_factory=list)
