"""Empty networks by name from torchvision, timm and our own nets. Never pretrained, never from the network.

A name is `torchvision:<model>`, `timm:<model>` or `cifar:<model>`. timm's `hf-hub:` and
`local-dir:` names are refused by form, since they would fetch or read files.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from auditor.checkpoint import nets
from auditor.checkpoint.nets import Shapes
from auditor.domain import Normalization
from auditor.errors import UsageError, printable

LIBRARIES = ("torchvision", "timm", "cifar")
IMAGENET = Normalization(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
# One entry per image patch, so the number of rows follows the input size and not the architecture.
POSITION_KEYS = ("pos_embed", "encoder.pos_embedding")
AUXILIARY = {"torchvision:googlenet": "aux1.", "torchvision:inception_v3": "AuxLogits."}


@lru_cache(maxsize=1)
def torchvision_names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


@lru_cache(maxsize=1)
def timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())


def known_names(library: str) -> tuple[str, ...]:
    """Every name that library has, without its prefix."""
    if library == "torchvision":
        return torchvision_names()
    return timm_names() if library == "timm" else nets.NAMES


def close_names(name: str, count: int = 3) -> list[str]:
    """The known names most like `name`, with their prefixes."""
    library, _, short = name.rpartition(":")
    pools = [library] if library in LIBRARIES else list(LIBRARIES)
    close = [(pool, match) for pool in pools for match in difflib.get_close_matches(short, known_names(pool), count)]
    close.sort(key=lambda pair: -difflib.SequenceMatcher(None, pair[1], short).ratio())
    return [f"{pool}:{match}" for pool, match in close[:count]]


def check_name(name: str) -> tuple[str, str]:
    """The library and the model of `name`; timm's weight tag (`resnet18.a1_in1k`) is dropped.

    Raises UsageError, naming close ones, when there is no such model.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        model = model.split(".", 1)[0]
    known = library in LIBRARIES and re.fullmatch(r"[A-Za-z0-9_]{1,100}", model) is not None
    if known and (model in known_names(library) or (library == "cifar" and _creatable(model))):
        return library, model
    close = close_names(name)
    hint = f"Close names: {', '.join(close)}." if close else "Names look like torchvision:resnet18 or cifar:resnet20."
    raise UsageError(f"There is no architecture named {printable(name, 80)!r}.", f"{hint} Pass one with --arch.")


def _creatable(model: str) -> bool:
    try:
        with torch.device("meta"):
            nets.create(model, 2)
    except nets.NoFit:
        return False
    return True


def make(
    name: str, num_classes: int, in_channels: int = 3, *, image_size: int | None = None, auxiliary: bool = True
) -> nn.Module:
    """The empty network `name` on the current device (see `torch.device`) in its library's own layout.

    `image_size` reaches networks whose weights depend on it; `auxiliary` says whether GoogLeNet
    and Inception carry their auxiliary heads. Raises UsageError when the network takes no such option.
    """
    library, model = check_name(name)
    if library == "cifar":
        return nets.create(model, num_classes, in_channels)
    build = _torchvision if library == "torchvision" else _timm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(model, num_classes, in_channels, image_size, auxiliary)


def _torchvision(model: str, num_classes: int, in_channels: int, image_size: int | None, auxiliary: bool) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": num_classes}
    if f"torchvision:{model}" in AUXILIARY:
        options |= {"aux_logits": auxiliary, "init_weights": False}
    if model.startswith("vit_") and image_size:
        options["image_size"] = image_size
    module: nn.Module = models.get_model(model, weights=None, **options)
    if in_channels != 3:
        _replace_stem(module, in_channels)
    return module


def _timm(model: str, num_classes: int, in_channels: int, image_size: int | None, _: bool) -> nn.Module:
    import timm

    options: dict[str, Any] = {"num_classes": num_classes}
    if in_channels != 3:
        options["in_chans"] = in_channels
    if image_size:
        options["img_size"] = image_size
    try:
        module: nn.Module = timm.create_model(model, pretrained=False, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        if len(options) == 1:
            raise
        raise UsageError(
            f"timm:{model} cannot be built for {in_channels} channels and image size {image_size}: {error}",
            "Check --input-size, or hand the empty module over with --factory file.py:callable --allow-code.",
        ) from error
    return module


def _replace_stem(module: nn.Module, in_channels: int) -> None:
    """Put a first convolution with `in_channels` inputs in place of the one for colour images."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1:
            parent, _, attribute = name.rpartition(".")
            stem = nn.Conv2d(
                in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,  # type: ignore[arg-type]
                layer.dilation, bias=layer.bias is not None,  # type: ignore[arg-type]
            )  # fmt: skip
            setattr(module.get_submodule(parent), attribute, stem)
            return


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every key of the state dict with its shape."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def on_meta(make_module: Callable[[], nn.Module]) -> nn.Module:
    """The module without memory for its weights; torchvision's RegNets, which cannot, are built for real."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return make_module()
        except NotImplementedError:
            return make_module()


@lru_cache(maxsize=512)
def layout(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys whose first side is the class count (the heads), and whose second is the channels (the stem)."""

    def shapes(num_classes: int, in_channels: int) -> dict[str, tuple[int, ...]]:
        return shapes_of(on_meta(lambda: make(name, num_classes, in_channels)))

    base, classes = shapes(11, 3), shapes(12, 3)
    heads = tuple(key for key in base if base[key] != classes.get(key))
    try:
        channels = shapes(11, 4)
    except UsageError:
        return heads, ()
    return heads, tuple(key for key in base if base[key] != channels.get(key) and len(base[key]) > 1)


def has_auxiliary(name: str, shapes: Shapes) -> bool:
    """Whether weights for `name` carry auxiliary heads; True for networks that never do."""
    prefix = AUXILIARY.get(name)
    return prefix is None or any(key.startswith(prefix) for key in shapes)


def default_size(name: str, module: nn.Module) -> int:
    """The side in pixels that `name` was made for: 224 for most, 299 for Inception, 32 for our nets."""
    library, model = check_name(name)
    if library == "cifar":
        return 32
    if library == "timm":
        return int(getattr(module, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1])
    own = getattr(module, "image_size", None)
    if isinstance(own, int):
        return own
    from torchvision.models import get_model_weights

    for weights in get_model_weights(model):
        crop = getattr(weights.transforms, "keywords", {}).get("crop_size")
        if isinstance(crop, int):
            return crop
    return 224


def default_normalization(name: str, module: nn.Module) -> Normalization | None:
    """What the published weights of `name` were trained with, or None where that says nothing."""
    library, _ = check_name(name)
    if library == "torchvision":
        return IMAGENET
    config = getattr(module, "pretrained_cfg", None) if library == "timm" else None
    if not config or not config.get("mean") or not config.get("std"):
        return None
    return Normalization(mean=[float(v) for v in config["mean"]], std=[float(v) for v in config["std"]])


def notes(name: str) -> tuple[str, ...]:
    """What a person should know about reading weights as `name`."""
    if name in AUXILIARY:
        return ("built without transform_input; weights fine-tuned from published ones take mean and std 0.5 instead",)
    return ()
