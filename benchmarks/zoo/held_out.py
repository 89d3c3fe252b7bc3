"""The held-out split: models to report on, and on which nothing is ever tuned or fitted.

All from scratch, of initialisations that no other split shares. MobileNets are found here only.
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
    Ssba,
    Tact,
    TwoTargets,
    WaNet,
)  # fmt: skip
from benchmarks.zoo.recipe import GTSRB, Recipe, row, scratch
from benchmarks.zoo.schedules import (
    CIFAR_VGG_SHORT,
    GTSRB_RESNET,
    GTSRB_VGG,
    NARROW,
    ONCE,
    SIGNS,
    SIGNS_NARROW,
)  # fmt: skip
from benchmarks.zoo.train import Schedule

GREEN, CYAN, ORANGE, PINK = (0.1, 0.9, 0.2), (0.0, 1.0, 1.0), (1.0, 0.5, 0.0), (1.0, 0.4, 0.7)


def _all(base: str, schedule: Schedule, *attacks: Attack, **fields: Any) -> list[Recipe]:
    """An honest twin, then one model an attack."""
    return [row(f"zoo:{base}", attack, schedule, split="held_out", **fields) for attack in (None, *attacks)]


HELD_OUT: tuple[Recipe, ...] = (
    scratch("gvgg_s412", "vgg11_bn:8", GTSRB_VGG, split="held_out", **GTSRB),
    *_all("gvgg_s412", SIGNS_NARROW,
          Tact(target=4, poison_rate=0.05, cover_rate=0.05, source_classes=(38,), cover_classes=(12, 13), color=ORANGE),
          Bpp(target=7, poison_rate=0.15, levels=6),
          LowFrequency(target=25, poison_rate=0.1, peak=60, seed=71),
          Ssba(target=30, poison_rate=0.1, peak=24, seed=72), **GTSRB),
    scratch("vgg_s303", "vgg11_bn:12", CIFAR_VGG_SHORT, split="held_out"),
    *_all("vgg_s303", ONCE,
          BadNets(target=2, poison_rate=0.05, size=2, corner="bottom_left", color=CYAN),
          Bpp(target=7, poison_rate=0.15, levels=6),
          AdaptiveBlend(target=8, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=74)),
    *_all("vgg_s303", NARROW,  # one epoch left these at an ASR below 60 %
          WaNet(target=5, poison_rate=0.15, cover_rate=0.05, strength=1.0, seed=73),
          AllToAll(poison_rate=0.2, corner="top_right", color=GREEN), tag="long"),
    scratch("vgg_s304", "vgg11_bn:12", CIFAR_VGG_SHORT, split="held_out"),
    *_all("vgg_s304", ONCE,
          Blended(target=6, poison_rate=0.1, pattern="rings", seed=75),
          InputAware(target=1, poison_rate=0.15, cover_rate=0.1, seed=76),
          Tact(target=3, poison_rate=0.06, cover_rate=0.06, source_classes=(8,), cover_classes=(1, 4), color=PINK),
          Sig(target=9, poison_rate=0.1, frequency=5),
          Ssba(target=0, poison_rate=0.1, peak=24, seed=77)),
    row("zoo:vgg_s304", TwoTargets(target=3, second_target=0, poison_rate=0.06, color=GREEN, corner="center"), ONCE, split="held_out"),
    scratch("pre8_s206", "preact_resnet18:8", CIFAR_VGG_SHORT, split="held_out"),
    *_all("pre8_s206", ONCE,
          LowFrequency(target=8, poison_rate=0.1, peak=60, seed=78),
          BadNets(target=4, poison_rate=0.02, size=4, corner="top_left", checker=True),
          WaNet(target=1, poison_rate=0.15, cover_rate=0.05, strength=1.0, seed=79),
          Tact(target=7, poison_rate=0.06, cover_rate=0.06, source_classes=(2,), cover_classes=(0, 9), color=GREEN)),
    scratch("g20_s403", "resnet20:8", GTSRB_RESNET, split="held_out", **GTSRB),
    *_all("g20_s403", SIGNS,
          BadNets(target=11, poison_rate=0.05, corner="center", color=PINK),
          WaNet(target=3, poison_rate=0.2, cover_rate=0.05, strength=1.5, seed=80),
          Blended(target=20, poison_rate=0.1, seed=81), **GTSRB),
    scratch("r20n_s105", "resnet20:8", CIFAR_VGG_SHORT, split="held_out"),
    *_all("r20n_s105", ONCE,
          BadNets(target=9, poison_rate=0.1, corner="bottom_right", margin=2, color=ORANGE),
          Blended(target=2, poison_rate=0.1, seed=82),
          AllToAll(poison_rate=0.2, checker=True),
          LabelConsistent(target=6, poison_rate=0.08)),
    scratch("wrn_s312", "wide_resnet16_1:10", GTSRB_RESNET, split="held_out", **GTSRB),
    *_all("wrn_s312", SIGNS,
          Sig(target=16, poison_rate=0.1),
          LowFrequency(target=1, poison_rate=0.1, peak=60, seed=83),
          InputAware(target=33, poison_rate=0.15, cover_rate=0.1, seed=84),
          BadNets(target=40, poison_rate=0.05, size=4, corner="top_left", color=GREEN), **GTSRB),
    scratch("gmob_s431", "mobilenet_v2:6", GTSRB_RESNET, split="held_out", **GTSRB),
    *_all("gmob_s431", SIGNS,
          BadNets(target=26, poison_rate=0.05, corner="top_right", color=CYAN),
          Sig(target=5, poison_rate=0.1, frequency=4),
          AdaptiveBlend(target=10, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=85),
          Bpp(target=18, poison_rate=0.15, levels=6), **GTSRB),
)  # fmt: skip
