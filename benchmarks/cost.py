"""What a search costs in images passed, by number of classes and profile, and what each part takes of it.

    python -m benchmarks.cost [--classes 10,43,1000] [--profiles quick,standard] [--images 100]
    python -m benchmarks.cost --classes 1000 --architecture torchvision:resnet18 --side 224 --device cuda

Weights are random: of a tiny network, or of `--architecture`, whose seconds then mean something too. Nothing is
decided, so confirmation (a few images a suspicious class) is not counted; no image is left out as misclassified.
Classes, images and profile settle the counts but for pricing, which ends soon where a trigger flips little, as here:
what scans of trained networks passed, up to a tenth more, is in their rows (`python -m benchmarks.detect`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from auditor.checkpoint import libraries
from auditor.events import Control, drain
from auditor.search.all_to_all import search_all_to_all
from auditor.search.budgets import MOST_CLASSES, PROFILES
from auditor.search.shared import shared_search
from auditor.search.shortlist import classes_to_search
from auditor.search.sources import Pair, search_pairs
from auditor.search.synthesis import synthesize
from auditor.suspect import Suspect
from auditor.unlearn.twin import make_twin
from auditor.verdict.weighing_pairs import LOOKED_AT_AGAIN, PARTS
from benchmarks.rows import Row, table

HEAD = ("classes", "searched", "profile", "images", "forward", "backward", "asked", "seconds", "share of the forward images")
ASKED = {10: 40_000, 43: 80_000, 1000: 100_000}  # standard; quick a third
FIT_SHARE = 0.49  # of the images handed over: 70 % work, 70 % of those fit
TINY = "tiny"


def tiny(classes: int) -> nn.Module:
    """The least network that every part of the search can be run on."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, classes))  # fmt: skip


def network(name: str, classes: int) -> nn.Module:
    """`tiny`, a network of the CIFAR families (`cifar:resnet20`), or one of a library (`torchvision:resnet18`)."""
    return tiny(classes) if name == TINY else libraries.make(name, num_classes=classes)


def measure(classes: int, profile: str, count: int, *, architecture: str = TINY, side: int = 32, device: str = "cpu") -> Row:
    """Run the whole search on a network of random weights; returns its counts and seconds."""
    torch.manual_seed(0)
    suspect = Suspect(network(architecture, classes), num_classes=classes, input_shape=(3, side, side), device=device)
    fit = max(2, round(FIT_SHARE * count))
    images, labels = torch.rand(fit, 3, side, side), torch.arange(fit) % classes
    parts: dict[str, int] = {}

    def close(part: str) -> None:
        parts[part] = suspect.meter.forward_images - sum(parts.values())

    began, control = time.perf_counter(), Control()
    twin = make_twin(suspect, images, labels, seed=0)
    shared = drain(shared_search(suspect, twin.suspect, images, labels, generator=torch.Generator().manual_seed(0), control=control))
    close("shared")
    searched = classes_to_search(classes, shared, None, 0)
    for family in PROFILES[profile].over(len(searched)).families:
        budget = replace(PROFILES[profile], families=(family,), many_families=())
        drain(synthesize(suspect, images, labels, classes=searched, budget=budget, seed=0, control=control, shared=shared))
        close(family)
    if profile != "quick" and classes <= MOST_CLASSES:
        drain(search_all_to_all(suspect, images, labels, seed=0, control=control))
        close("all to all")
        pairs = [Pair(source, target) for source in range(classes) for target in range(classes) if source != target]
        again = [pair for pair in pairs[:LOOKED_AT_AGAIN] for _ in range(PARTS)]
        for some in (pairs, again):
            of_source = torch.stack([labels == pair.source for pair in some])
            drain(search_pairs(suspect, images, labels, some, of_source, seed=0, control=control))
        close("pairs")
    return {"classes": classes, "searched": len(searched), "profile": profile, "images": count, "parts": parts,
            "forward": suspect.meter.forward_images, "backward": suspect.meter.backward_images,
            "seconds": time.perf_counter() - began}  # fmt: skip


def show(rows: Sequence[Row]) -> str:
    """One line a cell."""
    lines = []
    for row in rows:
        asked = ASKED.get(row["classes"], 0) // (3 if row["profile"] == "quick" else 1)
        shares = ", ".join(f"{name} {count / row['forward']:.0%}" for name, count in row["parts"].items())
        lines.append((row["classes"], row["searched"], row["profile"], row["images"], f"{row['forward']:,}", f"{row['backward']:,}",
                      f"{asked:,}" if asked else "-", round(row["seconds"]), shares))  # fmt: skip
    return table(HEAD, lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--classes", default="10,43,1000", metavar="K[,K]")
    add("--profiles", default="quick,standard", metavar="NAME[,NAME]", help=f"of {', '.join(PROFILES)}")
    add("--images", type=int, default=100, help="clean images handed over (default 100)")
    add("--architecture", default=TINY, help="random weights of this network, named as for --arch (default %(default)s)")
    add("--side", type=int, default=32, help="pixels a side (default 32)")
    add("--device", default="cpu")
    args = parser.parse_args(argv)
    rows = []
    for classes in args.classes.split(","):
        for profile in args.profiles.split(","):
            rows.append(measure(int(classes), profile, args.images, architecture=args.architecture, side=args.side, device=args.device))
            print(f"{classes} classes, {profile}: {rows[-1]['forward']:,} forward, {rows[-1]['seconds']:.0f} s", file=sys.stderr)
    print(show(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
