"""The flags that the verbs share, and the Request they make.

A flag is one annotated parameter in a table; a verb names the groups it takes, so that all
verbs spell a flag the same way and none accepts one it would ignore.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from auditor.cli import values
from auditor.errors import UsageError
from auditor.request import Request
from auditor.unlearn import METHODS, configured

Parameters = dict[str, inspect.Parameter]
Values = dict[str, Any]

_MODEL, _IMAGES, _SEARCH, _MACHINE, _OUTPUT = "The model", "Clean images", "The audit", "The machine", "Output"


def method_names() -> list[str]:
    return ["auto", *METHODS]


def flag(name: str, kind: Any, panel: str, help: str, *, default: Any = None, **options: Any) -> Parameters:
    """One `--long-name` option as a table entry. A default of None or False is not shown in help."""
    declared = options.pop("names", ())
    options.setdefault("show_default", default is not None and default is not False)
    if kind is bool or options.get("count"):
        options["metavar"] = ""
    option = typer.Option(f"--{name.replace('_', '-')}", *declared, help=help, rich_help_panel=panel, **options)
    annotation = Annotated[kind, option]
    return {name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)}


def argument(name: str, help: str, *, kind: Any = str, default: Any = inspect.Parameter.empty) -> Parameters:
    """One positional argument as a table entry."""
    annotation = Annotated[kind, typer.Argument(metavar=name.upper(), help=help, show_default=False)]
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return {name: inspect.Parameter(name, place, default=default, annotation=annotation)}


MODEL: Parameters = {
    **argument("model", "The checkpoint: safetensors, or a torch file of a state dict or a whole module."),
    **flag("arch", str | None, _MODEL, "Architecture, if it cannot be inferred: torchvision:resnet18, timm:..., "
           "cifar:resnet20.", metavar="NAME"),
    **flag("factory", str | None, _MODEL, "Your own code that returns the empty nn.Module; needs --allow-code.",
           metavar="FILE.py:CALLABLE"),
    **flag("allow_code", bool, _MODEL, "Let --factory run that code in this process.", default=False),
    **flag("num_classes", int | None, _MODEL, "Number of classes, if it cannot be inferred.", metavar="N", min=2,
           max=1_000_000),
    **flag("input_size", int | None, _MODEL, "Side of the square input in pixels.", metavar="N", min=8, max=2048),
    **flag("normalize", Literal["cifar10", "imagenet", "none"] | None, _MODEL,
           "Normalisation the model was trained with; inferred when not given."),
    **flag("mean", str | None, _MODEL, "Mean per channel in 0 to 1 units, with --std; one number is for all.",
           metavar="0.5,0.5,0.5"),
    **flag("std", str | None, _MODEL, "Standard deviation per channel in 0 to 1 units.", metavar="0.5,0.5,0.5"),
}  # fmt: skip

IMAGES: Parameters = {
    **flag("clean", str | None, _IMAGES, "10 to 500 clean images: a folder per class, a folder with labels.csv, a "
           "flat folder, or an .npz.", metavar="PATH"),
    **flag("classes", str | None, _IMAGES, "Class names in index order, one a line.", metavar="FILE"),
}  # fmt: skip

SEARCH: Parameters = {
    **flag("profile", Literal["quick", "standard", "deep"], _SEARCH, "How thorough to be.", default="standard"),
    **flag("time_budget", str | None, _SEARCH, "Stop searching after this long, with the best so far: 90s, 10m, 1h.",
           metavar="TIME"),
    **flag("seed", int, _SEARCH, "Seed of every random choice.", default=0, metavar="N", min=0, max=2**32 - 1),
}  # fmt: skip

TARGETS: Parameters = flag(
    "targets", str | None, _SEARCH, "Search for backdoors toward these classes only.", metavar="3,7"
) | flag(
    "exhaustive", bool, _SEARCH, "Search every class, however many there are; beyond 28 a shortlist is the default.",
    default=False,
) | flag(
    "sources", bool, _SEARCH, "Search for backdoors of one source class thoroughly, also by the quick profile and with few "
    "images; up to 16 classes.", default=False,
)  # fmt: skip

EMBED: Parameters = flag(
    "embed_preprocessing", bool, _OUTPUT, "Let the ONNX model take RGB images in 0 to 1.", default=False
)

UNLEARN: Parameters = {
    **flag("method", str, _SEARCH, f"How to unlearn: {', '.join(method_names())}. auto tries several and keeps the best.",
           default="auto", metavar="NAME"),
    **flag("set", list[str] | None, _SEARCH, "A hyper-parameter of --method, by its field's name. Repeatable.",
           metavar="NAME=VALUE"),
    **EMBED,
}  # fmt: skip

TRIGGER: Parameters = flag(
    "trigger", str | None, _SEARCH, "A known trigger, such as a run's evidence/trigger_0.npz.", metavar="FILE.npz"
)

MACHINE: Parameters = {
    **flag("device", str, _MACHINE, "Where to compute.", default="auto", metavar="auto|cpu|cuda[:N]"),
    **flag("threads", int | None, _MACHINE, "CPU threads.", metavar="N", min=1, max=1024),
}  # fmt: skip

FORMAT: Parameters = flag(
    "format", list[str] | None, _OUTPUT, "What to print; with =PATH, write that to a file too. Repeatable.",
    metavar="text|json[=PATH]",
)  # fmt: skip

STREAMS: Parameters = {
    **FORMAT,
    **flag("quiet", bool, _OUTPUT, "No progress, only errors.", default=False, names=("-q",)),
    **flag("verbose", int, _OUTPUT, "Show notices and steps; twice, tracebacks too.", default=0, names=("-v",),
           count=True, show_default=False),
}  # fmt: skip

RUN_FOLDER: Parameters = flag(
    "output", str, _OUTPUT, "The run folder, made if missing; the same command resumes it.",
    default=inspect.Parameter.empty, names=("-o",), metavar="RUN", show_default=False,
)  # fmt: skip

ONNX_FILE: Parameters = flag(
    "output", str, _OUTPUT, "The ONNX file to write.", default=inspect.Parameter.empty, names=("-o",),
    metavar="FILE.onnx", show_default=False,
)  # fmt: skip

FORCE: Parameters = flag("force", bool, _OUTPUT, "Start over in an existing run, or overwrite.", default=False)

AGAINST: Parameters = flag(
    "against", str, _SEARCH, "The run whose triggers must be dead.", default=inspect.Parameter.empty, metavar="RUN",
    show_default=False,
)  # fmt: skip


def takes(*groups: Parameters) -> Callable[[Callable[[Values], int]], Callable[..., int]]:
    """Give a function of a plain dict the command-line signature that the groups make up.

    The dict holds every flag by its name, and `argv`, the command line they came from.
    """
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(parameter for group in groups for parameter in group.values())]
    parameters.sort(key=lambda p: p.kind is inspect.Parameter.KEYWORD_ONLY)

    def decorate(function: Callable[[Values], int]) -> Callable[..., int]:
        def command(context: typer.Context, **chosen: Any) -> int:
            return function({**chosen, "argv": context.obj})

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        return command

    return decorate


def to_request(chosen: Values) -> Request:
    """The Request that the flags mean. Raises UsageError when they do not fit together."""
    _check_together(chosen)
    read: Values = {
        "mean": values.channel_means("--mean", chosen.get("mean")),
        "std": values.channel_scales("--std", chosen.get("std")),
        "targets": values.class_indices("--targets", chosen.get("targets")),
        "device": values.device("--device", chosen.get("device", "auto")),
        "method": values.choice("--method", chosen.get("method", "auto"), method_names()),
        "settings": values.settings("--set", chosen.get("set")),
        "time_budget_s": values.seconds("--time-budget", chosen.get("time_budget")),
    }
    given = {name: value for name, value in chosen.items() if name in Request.__dataclass_fields__}
    request = Request(**{**given, **read})
    _check_numbers(request)
    configured(request.method, request.settings)
    return request


def _check_together(chosen: Values) -> None:
    if (chosen.get("mean") is None) != (chosen.get("std") is None):
        raise UsageError("--mean and --std belong together.", "Give both, or --normalize, or neither.")
    if chosen.get("mean") is not None and chosen.get("normalize") is not None:
        raise UsageError("--normalize and --mean/--std exclude each other.", "Give one of them.")
    if chosen.get("factory") is not None and chosen.get("arch") is not None:
        raise UsageError("--arch and --factory exclude each other.", "Give one of them.")
    if chosen.get("factory") is not None and not chosen.get("allow_code"):
        raise UsageError("--factory runs code on this machine.", "Read that code, then add --allow-code.")


def _check_numbers(request: Request) -> None:
    mean, std = request.mean or [], request.std or []
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise UsageError(f"--mean has {len(mean)} numbers and --std {len(std)}.", "Give one for each channel.")
    beyond = [t for t in request.targets or [] if request.num_classes is not None and t >= request.num_classes]
    if beyond:
        raise UsageError(
            f"--targets {beyond[0]} is not below --num-classes {request.num_classes}.", "Classes count from 0."
        )
