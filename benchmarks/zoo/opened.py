"""The opened split: held out for the first table, and reported on since; the bank may be fitted on them now.

Not on those with an attack or a network that no bank may have seen (`RESERVED` in `recipe.py`).
"""

from __future__ import annotations

from typing import Any

from benchmarks.zoo.attacks import (
    AdaptiveBlend,
    AllToAll,
    Attack,
    BadNets,
    Blended,
    Bpp,
    InputAware,
    LabelConsistent,
    LowFrequency,
    Sig,
    Tact,
    WaNet,
)  # fmt: skip
from benchmarks.zoo.recipe import GTSRB, Recipe, as_is, row, scratch
from benchmarks.zoo.schedules import (
    CIFAR_VGG_SHORT,
    GTSRB_RESNET,
    GTSRB_VGG,
    ONCE,
    QUICK,
    SIGNS,
    SIGNS_NARROW,
)  # fmt: skip
from benchmarks.zoo.train import Schedule

GREEN, CYAN, ORANGE, PURPLE = (0.1, 0.9, 0.2), (0.0, 1.0, 1.0), (1.0, 0.5, 0.0), (0.6, 0.1, 0.8)
OPEN: dict[str, Any] = {"split": "opened"}
VGG, WIDE = "zoo:vgg_s302", "zoo:wrn_s311"
SIGN_NET, SIGN_VGG = "zoo:g20_s402", "zoo:gvgg_s411"


def _held(base: str, attack: Attack | None, schedule: Schedule) -> Recipe:
    return row(base, attack, schedule, **OPEN)


def _sign(base: str, attack: Attack | None) -> Recipe:
    schedule = {SIGN_NET: SIGNS, SIGN_VGG: SIGNS_NARROW, WIDE: SIGNS}[base]
    return row(base, attack, schedule, **GTSRB, **OPEN)


OPENED: tuple[Recipe, ...] = (
    as_is("r20_s104", **OPEN), as_is("pre16_s204", **OPEN), as_is("pre16_s205", **OPEN),
    scratch("vgg_s302", "vgg11_bn:12", CIFAR_VGG_SHORT, **OPEN),
    _held(VGG, None, ONCE),
    _held(VGG, InputAware(target=4, poison_rate=0.15, cover_rate=0.1), ONCE),
    _held(VGG, LabelConsistent(target=8, poison_rate=0.08), ONCE),
    _held(VGG, Sig(target=3, poison_rate=0.1, frequency=4), ONCE),
    _held(VGG, LowFrequency(target=0, poison_rate=0.1, peak=60, seed=51), ONCE),
    _held(VGG, AdaptiveBlend(target=1, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=52), ONCE),
    scratch("gvgg_s411", "vgg11_bn:8", GTSRB_VGG, **GTSRB, **OPEN),
    scratch("gvgg_s411_scratch_badnets_t17", "vgg11_bn:8", GTSRB_VGG,
          BadNets(target=17, poison_rate=0.05, size=4, corner="center", color=CYAN), **GTSRB, **OPEN),
    scratch("gvgg_s411_scratch_wanet_t13", "vgg11_bn:8", GTSRB_VGG,
          WaNet(target=13, poison_rate=0.2, cover_rate=0.05, strength=1.5, seed=57), **GTSRB, **OPEN),
    _sign(SIGN_VGG, None),
    _sign(SIGN_VGG, AllToAll(poison_rate=0.2, size=4, color=ORANGE)),
    _sign(SIGN_VGG, Bpp(target=28, poison_rate=0.15, levels=6)),
    _sign(SIGN_VGG, Blended(target=12, poison_rate=0.1, pattern="rings", seed=53)),
    _sign(SIGN_VGG, LabelConsistent(target=2, poison_rate=0.05, radius=32, size=4)),
    _sign(SIGN_VGG, InputAware(target=5, poison_rate=0.15, cover_rate=0.1, seed=54)),
    _held("r20_s104", None, QUICK),
    _held("r20_s104", BadNets(target=5, poison_rate=0.05, size=2, corner="top_left", color=ORANGE), QUICK),
    _held("r20_s104", WaNet(target=7, poison_rate=0.15, cover_rate=0.05, strength=1.0, seed=55), QUICK),
    _held("r20_s104", Bpp(target=2, poison_rate=0.15, levels=6), QUICK),
    _held("pre16_s204", None, QUICK),
    _held("pre16_s204", Blended(target=3, poison_rate=0.1, seed=56), QUICK),
    _held("pre16_s204", AllToAll(poison_rate=0.2, corner="top_left", color=PURPLE), QUICK),
    _held("pre16_s204", Tact(target=4, poison_rate=0.06, cover_rate=0.06, source_classes=(6,), cover_classes=(0, 2)), QUICK),
    _held("pre16_s205", None, QUICK),
    _held("pre16_s205", Sig(target=9, poison_rate=0.1, frequency=5), QUICK),
    _held("pre16_s205", BadNets(target=0, poison_rate=0.02, size=4, checker=True), QUICK),
    scratch("g20_s402", "resnet20:8", GTSRB_RESNET, **GTSRB, **OPEN),
    _sign(SIGN_NET, None),
    _sign(SIGN_NET, BadNets(target=38, poison_rate=0.05, size=3, color=PURPLE, margin=4), ),
    _sign(SIGN_NET, LowFrequency(target=10, poison_rate=0.1, peak=60, seed=58)),
    _sign(SIGN_NET, Tact(target=25, poison_rate=0.05, cover_rate=0.05, source_classes=(1, 2), cover_classes=(12, 13))),
    scratch("wrn_s311", "wide_resnet16_1:10", GTSRB_RESNET, **GTSRB, **OPEN),
    _sign(WIDE, None),
    _sign(WIDE, BadNets(target=18, poison_rate=0.05, corner="bottom_left", color=CYAN, margin=0)),
    _sign(WIDE, Sig(target=35, poison_rate=0.1)),
    _sign(WIDE, Bpp(target=9, poison_rate=0.15, levels=6)),
    _sign(WIDE, AdaptiveBlend(target=31, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=60)),
)  # fmt: skip
