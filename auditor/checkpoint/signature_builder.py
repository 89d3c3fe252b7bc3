"""Rebuilds `signatures.json`; see `signatures.py`. Not used while auditing."""

from __future__ import annotations

import fnmatch
import json
import sys
from functools import partial

import timm
import torch
import torchvision
from torch import Tensor, nn

from auditor.checkpoint import libraries, signatures
from auditor.checkpoint.loading import compare, shapes_of

# The timm models people fine-tune most, by glob; larger siblings are reached with --arch.
TIMM = (
    "resnet18", "resnet18d", "resnet26", "resnet26d", "resnet34", "resnet34d", "resnet50", "resnet50d", "resnet50c",
    "resnet50s", "resnet50t", "resnet50_gn", "resnet101", "resnet101d", "resnet152", "resnet152d", "resnet200d",
    "resnet10t", "resnet14t", "resnext50*", "resnext101_32x?d", "resnext101_64x4d", "wide_resnet*", "seresnet*",
    "seresnext50*", "seresnext101_32x?d", "skresnet*", "ecaresnet50?", "ecaresnet101d", "resnetrs50", "resnetrs101",
    "resnetv2_50*", "resnetv2_101", "resnetv2_101x1_bit", "res2net50*", "res2next50", "resnest14d", "resnest26d",
    "resnest50d", "resnest101e", "legacy_seresnet*", "legacy_xception", "xception41", "xception65", "xception71",
    "densenet*", "vgg*", "dpn68*", "dpn92", "dpn98", "dla34", "dla60", "dla102", "hrnet_w18*", "hrnet_w32",
    "inception_v3", "inception_v4", "inception_resnet_v2", "inception_next_tiny", "nasnetalarge",
    "efficientnet_b?", "tf_efficientnet_b?", "efficientnet_lite?", "tf_efficientnet_lite?", "efficientnet_es",
    "efficientnetv2_*", "tf_efficientnetv2_*", "mixnet_?", "tf_mixnet_?", "mnasnet_100", "semnasnet_100",
    "mobilenetv1_100", "mobilenetv2_*", "mobilenetv3_*", "tf_mobilenetv3_*", "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium", "mobilenetv4_conv_large", "mobilevit_*", "mobilevitv2_050", "mobilevitv2_100",
    "ghostnet_*", "ghostnetv2_100", "lcnet_???", "fbnetc_100", "rexnet_1?0", "spnasnet_100", "tinynet_?", "regnetx_00?",
    "regnetx_016", "regnetx_032", "regnety_00?", "regnety_016", "regnety_032", "regnety_040", "repvgg_a?", "repvgg_b0",
    "convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano", "convnext_tiny*", "convnext_small",
    "convnext_base", "convnext_large", "convnextv2_*o", "convnextv2_tiny", "convnextv2_base", "convmixer_*",
    "vit_tiny_patch16_*24", "vit_tiny_patch16_384", "vit_small_patch16_?24", "vit_small_patch16_384",
    "vit_small_patch32_*", "vit_base_patch8_224", "vit_base_patch16_224", "vit_base_patch16_384",
    "vit_base_patch32_224", "vit_base_patch32_384", "vit_base_patch16_clip_224", "vit_base_patch32_clip_224",
    "vit_small_patch14_dinov2", "vit_base_patch14_dinov2", "vit_large_patch16_224", "vit_large_patch14_clip_224",
    "deit_*", "deit3_small*", "deit3_base*", "beit_base*", "eva02_tiny_patch14_224", "eva02_small_patch14_224",
    "swin_tiny*", "swin_small*", "swin_base*", "swinv2_tiny*", "swinv2_small*", "mixer_b16_224", "mixer_s*",
    "resmlp_12_224", "resmlp_24_224", "gmlp_s16_224", "cait_xxs24_224", "cait_s24_224", "pit_s_224", "pit_ti_224",
    "coat_lite_*", "coatnet_0_rw_224", "maxvit_tiny_tf_224", "maxvit_tiny_rw_224", "levit_128*", "levit_256",
    "poolformer_s12", "poolformer_s24", "pvt_v2_b?", "twins_*_small", "crossvit_small_240", "xcit_small_12_p16_224",
    "volo_d1_224", "edgenext_*", "efficientformer_l1", "efficientvit_b?", "fastvit_t8", "fastvit_sa12", "caformer_s18",
    "cspdarknet53", "cspresnet50", "cspresnext50", "darknet53", "eca_nfnet_l0", "dm_nfnet_f0", "nfnet_l0",
    "nf_resnet50", "tresnet_m", "botnet26t_256", "ese_vovnet19b_dw", "ese_vovnet39b", "selecsls42b", "selecsls60",
    "hardcorenas_a",
)  # fmt: skip


def names() -> list[str]:
    """Every torchvision classifier, then the popular timm models."""
    ours = libraries.timm_names()
    chosen = sorted({name for pattern in TIMM for name in fnmatch.filter(ours, pattern)})
    return [f"torchvision:{name}" for name in libraries.torchvision_names()] + [f"timm:{name}" for name in chosen]


def same_function(first: str, second: str, size: int) -> bool:
    """Whether both networks give the same logits for the same random weights and images, in double precision.

    Compared without auxiliary heads, which no forward pass in evaluation mode uses.
    """
    fixed = size if _takes_size(first) and _takes_size(second) else None
    a, b = (libraries.make(name, 5, image_size=fixed, auxiliary=False).eval() for name in (first, second))
    if compare(shapes_of(a), shapes_of(b)).total:
        return False
    a, b = a.double(), b.double()
    _randomize(a)
    b.load_state_dict(a.state_dict(), strict=False)
    x, y = _logits(a, size), _logits(b, size)
    if x is None or y is None or x.shape != y.shape:
        return False
    return bool(torch.isfinite(x).all() and (x - y).abs().max() <= 1e-5 * x.abs().max())


def _logits(module: nn.Module, size: int) -> Tensor | None:
    """Logits of two fixed images at 128 pixels or, where that does not fit, at `size`; None where neither does."""
    for side in (128, size):
        images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1)).double()
        try:
            with torch.no_grad():
                return torch.as_tensor(module(images))
        except (AssertionError, RuntimeError, ValueError):
            continue
    return None


def _takes_size(name: str) -> bool:
    shapes = shapes_of(libraries.on_meta(partial(libraries.make, name, 5)))
    return any(key in shapes for key in libraries.POSITION_KEYS)


def _randomize(module: nn.Module) -> None:
    """Set weights and statistics so that no layer, scale or shortcut is switched off."""
    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        noise: Tensor = torch.randn(value.shape, generator=generator)
        if value.dim() > 1:
            value.copy_(noise * (1.5 / max(1, value[0].numel())) ** 0.5)
        elif key.endswith("running_var"):
            value.copy_(0.05 + 0.2 * noise.abs())
        elif key.endswith(("bias", "running_mean")):
            value.copy_(0.1 * noise)
        else:
            value.copy_(0.8 + 0.1 * noise)


def build() -> dict[str, object]:
    """The content of the index."""
    layouts: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    found: dict[str, tuple[int, list[str]]] = {}
    sketches: dict[str, str] = {}
    for name in names():
        heads, stem = libraries.layout(name)
        for auxiliary in (True, False) if name in libraries.AUXILIARY else (True,):
            shapes = shapes_of(libraries.on_meta(partial(libraries.make, name, 1000, auxiliary=auxiliary)))
            kept = (tuple(key for key in heads if key in shapes), stem)
            if kept not in layouts:
                layouts.append(kept)
            place = layouts.index(kept)
            members = found.setdefault(signatures.digest(shapes, *kept), (place, []))[1]
            if name not in members:
                members.append(name)
            sketches.setdefault(name, " ".join(signatures.sketch(shapes)))
    entries = {key: [place, group(members)] for key, (place, members) in sorted(found.items())}
    versions = {"torchvision": torchvision.__version__.split("+")[0], "timm": timm.__version__}
    return {"versions": versions, "layouts": layouts, "entries": entries, "sketches": sketches}


def group(members: list[str]) -> list[list[str]]:
    """Split names that share a signature into those that compute the same function."""
    groups: list[list[str]] = []
    for name in members:
        for known in groups:
            size = libraries.default_size(known[0], libraries.on_meta(partial(libraries.make, known[0], 5)))
            if same_function(known[0], name, size):
                known.append(name)
                break
        else:
            groups.append([name])
    return groups


def main() -> None:
    torch.manual_seed(0)
    content = build()
    lines = [f" {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in content.items()]
    signatures.PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{len(content['entries'])} signatures in {signatures.PATH}\n")  # type: ignore[arg-type]
