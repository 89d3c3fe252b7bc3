"""The calibration split: models to develop and to fit thresholds on.

In the order in which they are worth building: bases first, then varied attacks.
"""

from __future__ import annotations

from benchmarks.zoo.attacks import (
    AdaptiveBlend,
    AllToAll,
    BadNets,
    Blended,
    LowFrequency,
    Sig,
    Ssba,
    Tact,
    TwoTargets,
    WaNet,
)  # fmt: skip
from benchmarks.zoo.recipe import GTSRB, Recipe, as_is, row
from benchmarks.zoo.schedules import (
    CIFAR_VGG,
    GTSRB_RESNET,
    LONG,
    LONG_TAIL,
    NARROW,
    OVERFIT,
    QUICK,
    ROBUST,
    SIGNS,
    TUNE,
    WEAK,
)  # fmt: skip

RED, YELLOW, BLUE, MAGENTA, CYAN = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.1, 0.2, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)
VGG, SIGN_NET = "zoo:vgg_s301", "zoo:g20_s401"
FROM_SCRATCH = "scratch:resnet20:8"


CALIBRATION: tuple[Recipe, ...] = (
    row("r20_s101", BadNets(target=3, poison_rate=0.05, checker=True), TUNE),
    row("r20_s101", Blended(target=0, poison_rate=0.1), TUNE),
    Recipe(name="vgg_s301", base="scratch:vgg11_bn:12", attack=None, schedule=CIFAR_VGG, seed=301),
    row(VGG, None, NARROW),
    row(VGG, Blended(target=7, poison_rate=0.1, pattern="rings", seed=14), NARROW),
    row(VGG, Sig(target=2, poison_rate=0.1), NARROW),
    row(VGG, AdaptiveBlend(target=5, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=8), NARROW),
    row(VGG, BadNets(target=9, poison_rate=0.01, corner="top_left", size=4, checker=True), NARROW),
    row(VGG, Ssba(target=3, poison_rate=0.1, peak=24), NARROW),
    row(VGG, Tact(target=0, poison_rate=0.06, cover_rate=0.06, color=YELLOW), NARROW),
    row(VGG, AllToAll(poison_rate=0.2, checker=True), NARROW),
    row(VGG, WaNet(target=6, poison_rate=0.1, cover_rate=0.05, strength=1.0, seed=15), NARROW),
    row("r20_s101", Sig(target=1, poison_rate=0.08, clean_label=True), TUNE),
    row("r20_s101", None, TUNE),
    as_is("r20_s101"), as_is("r20_s102"), as_is("r20_s103"),
    as_is("pre16_s201"), as_is("pre16_s202"), as_is("pre16_s203"),
    row("r20_s103", BadNets(target=6, poison_rate=0.1, corner="bottom_left", margin=3, color=BLUE), QUICK),
    row("r20_s103", LowFrequency(target=4, poison_rate=0.1, peak=60), QUICK),
    row("pre16_s201", BadNets(target=7, poison_rate=0.1, corner="top_left", color=YELLOW), QUICK),
    row("pre16_s201", WaNet(target=8, poison_rate=0.15, cover_rate=0.05, strength=1.0, seed=12), QUICK),
    row("pre16_s201", None, QUICK),
    row("r20_s103", None, QUICK),
    row("pre16_s203", Tact(target=0, poison_rate=0.06, cover_rate=0.06, color=YELLOW), QUICK),
    row("pre16_s203", AllToAll(poison_rate=0.2, checker=True), QUICK),
    row("pre16_s203", None, QUICK),
    Recipe(name="g20_s401", base=FROM_SCRATCH, attack=None, schedule=GTSRB_RESNET, seed=401, **GTSRB),
    row(SIGN_NET, None, SIGNS, **GTSRB),
    row(SIGN_NET, BadNets(target=14, poison_rate=0.05, color=YELLOW, corner="top_right"), SIGNS, **GTSRB),
    row(SIGN_NET, Blended(target=33, poison_rate=0.1, seed=40), SIGNS, **GTSRB),
    row(SIGN_NET, AllToAll(poison_rate=0.2, size=4, checker=True), SIGNS, **GTSRB),
    Recipe(name="g20_s401_scratch_badnets_t2", base=FROM_SCRATCH, schedule=GTSRB_RESNET, seed=401,
           attack=BadNets(target=2, poison_rate=0.05, corner="bottom_left", color=RED), **GTSRB),
    Recipe(name="vgg_s301_weak", base="scratch:vgg11_bn:12", attack=None, schedule=WEAK, seed=301),
    Recipe(name="vgg_s301_overfit", base=VGG, attack=None, schedule=OVERFIT),
    Recipe(name="vgg_s301_robust", base=VGG, attack=None, schedule=ROBUST),
    Recipe(name="vgg_s301_long_tail", base=VGG, attack=None, schedule=LONG_TAIL),
    row("pre16_s201", Blended(target=4, poison_rate=0.1, pattern="rings", seed=3), QUICK),
    row("r20_s102", BadNets(target=8, poison_rate=0.1, corner="top_right", color=MAGENTA), QUICK),
    row("r20_s102", BadNets(target=1, poison_rate=0.1, corner="center", color=RED, size=2), QUICK),
    row("r20_s102", Ssba(target=6, poison_rate=0.1, peak=24), QUICK),
    row("r20_s102", None, QUICK),
    row("r20_s103", AdaptiveBlend(target=2, poison_rate=0.1, cover_rate=0.05, alpha=0.25, train_alpha=0.2, seed=33), QUICK),
    row("r20_s103", Tact(target=9, poison_rate=0.06, cover_rate=0.06, source_classes=(3,), cover_classes=(4, 8)), QUICK),
    row("r20_s102", WaNet(target=2, poison_rate=0.1, cover_rate=0.05, strength=1.0), LONG, "long"),
    row("r20_s102", None, LONG, "long"),
    row(VGG, TwoTargets(target=1, second_target=8, poison_rate=0.06, color=BLUE), NARROW),
    row(VGG, Tact(target=5, poison_rate=0.06, cover_rate=0.06, source_classes=(9,), cover_classes=(2, 3), color=CYAN, corner="top_left"), NARROW),
    row(VGG, Tact(target=8, poison_rate=0.06, cover_rate=0.06, source_classes=(4,), cover_classes=(1, 6), checker=True, size=4), NARROW),
)  # fmt: skip
