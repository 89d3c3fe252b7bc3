"""Which library network has these keys and shapes: a prebuilt index, looked up without building any.

A signature hashes the sorted keys and shapes with the class count, the input channels and the
number of position embeddings masked. `python -m auditor.checkpoint.signatures` rebuilds
`signatures.json` from the installed torchvision and timm (a few minutes, no network). Names that
share a signature are run on the same random weights there, so the index also knows which of
them compute the same function.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from auditor.checkpoint.libraries import POSITION_KEYS
from auditor.checkpoint.loading import is_derived
from auditor.checkpoint.nets import Shapes

PATH = Path(__file__).with_name("signatures.json")
SKETCH = 24


def digest(shapes: Shapes, heads: Iterable[str], stem: Iterable[str]) -> str:
    """16 hex digits over the keys and shapes, with the sides that vary between users masked."""
    masks: dict[str, int] = dict.fromkeys(POSITION_KEYS, 1) | dict.fromkeys(stem, 1) | dict.fromkeys(heads, 0)
    lines = []
    for key in sorted(key for key in shapes if not is_derived(key)):
        sides = [str(side) for side in shapes[key]]
        if key in masks and len(sides) > masks[key]:
            sides[masks[key]] = "*"
        lines.append(f"{key}:{','.join(sides)}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def sketch(shapes: Shapes) -> list[str]:
    """The smallest hashes of the keys and of the keys with shapes: alike for networks that are alike."""
    parts = [part for key, shape in shapes.items() if not is_derived(key) for part in (key, f"{key}:{shape}")]
    hashes = {hashlib.sha256(part.encode("utf-8", "backslashreplace")).hexdigest()[:6] for part in parts}
    return sorted(hashes)[:SKETCH]


@dataclass(frozen=True)
class Match:
    """Library names with this signature, in groups that compute the same function."""

    groups: tuple[tuple[str, ...], ...]
    heads: tuple[str, ...]
    stem: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """`layouts` holds (heads, stem) pairs; `entries` maps a digest to its layout's place and its groups."""

    layouts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    entries: dict[str, tuple[int, tuple[tuple[str, ...], ...]]]
    sketches: dict[str, frozenset[str]]

    def lookup(self, shapes: Shapes) -> list[Match]:
        """Every entry with the signature of `shapes`; normally none or one."""
        found = []
        for place, (heads, stem) in enumerate(self.layouts):
            if all(key in shapes for key in (*heads, *stem)):
                entry = self.entries.get(digest(shapes, heads, stem))
                if entry and entry[0] == place:
                    found.append(Match(entry[1], heads, stem))
        return found

    def layout_of(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """The heads and the stem of an indexed name; None for others."""
        return self._layouts_by_name.get(name)

    @cached_property
    def _layouts_by_name(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Where a name has several layouts (auxiliary heads or none), the one with most heads."""
        found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for place, groups in self.entries.values():
            for name in (name for group in groups for name in group):
                found[name] = max(found.get(name, ((), ())), self.layouts[place], key=lambda item: len(item[0]))
        return found

    def nearest(self, shapes: Shapes, count: int) -> list[str]:
        """The names whose sketches share most with that of `shapes`, best first; none that share nothing."""
        own = set(sketch(shapes))
        shared = {name: len(own & other) for name, other in self.sketches.items()}
        ranked = sorted((name for name in shared if shared[name]), key=lambda name: (-shared[name], _preference(name)))
        return ranked[:count]


def _preference(name: str) -> tuple[int, int, str]:
    return (0 if name.startswith("torchvision:") else 1, len(name), name)


@lru_cache(maxsize=1)
def index() -> Index:
    """The committed index."""
    raw = json.loads(PATH.read_text(encoding="utf-8"))
    return Index(
        layouts=tuple((tuple(heads), tuple(stem)) for heads, stem in raw["layouts"]),
        entries={key: (place, _tuples(groups)) for key, (place, groups) in raw["entries"].items()},
        sketches={name: frozenset(text.split()) for name, text in raw["sketches"].items()},
    )


def _tuples(groups: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names) for names in groups)


if __name__ == "__main__":
    from auditor.checkpoint.signature_builder import main

    main()
