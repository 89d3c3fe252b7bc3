"""Why a file is not opened."""

from __future__ import annotations

from typing import Literal


class Refusal(Exception):
    """The file is not opened: `kind` is unsafe (it would act or hides something) or broken.

    `names` lists what the pickle would have called or imported, for an unsafe one.
    """

    def __init__(
        self, kind: Literal["unsafe", "broken"], what: str, next_step: str = "", names: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.next_step = next_step
        self.names = names


def broken(what: str, next_step: str = "Get the file again from its source, or ask for a safetensors file.") -> Refusal:
    """The bytes cannot be read as what they claim to be."""
    return Refusal("broken", what, next_step)


def unsafe(
    what: str,
    next_step: str = "Do not load this file anywhere. Ask its author for a safetensors file.",
    names: tuple[str, ...] = (),
) -> Refusal:
    """The bytes would run code, or are arranged so that two readers see different things."""
    return Refusal("unsafe", what, next_step, names)
