"""One forward pass that waits at layers, so that each may be changed before the pass goes on through it.

A layerwise method would otherwise start a pass anew for every layer: on a ResNet-20 that is ten times as many.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auditor.adversarial import fast_math

if TYPE_CHECKING:
    from auditor.suspect import Suspect

See = Callable[[str, Tensor], None]


class _Enough(Exception):
    """Ends a forward pass once nothing more is asked of it."""


def look_at(model: Suspect, names: Sequence[str], images_NCHW: Tensor, see: See) -> None:
    """Show `see` what each of these layers takes in on the images, in the order in which a pass meets them; nothing
    after the last is computed."""
    last, here = names[-1] if names else None, threading.get_ident()

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
        if threading.get_ident() != here:  # a walk waits meanwhile, and another pass goes on
            return
        with fast_math(model, enabled=False):
            see(name, inputs[0].detach().float())
        if name == last:
            raise _Enough

    handles = [model.module.get_submodule(name).register_forward_pre_hook(partial(keep, name=name)) for name in names]
    try:
        with torch.no_grad(), fast_math(model):
            model(images_NCHW.to(model.device))
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


class Walk:
    """A pass of the model over images (N, C, H, W) that `to` leads from layer to layer.

    It runs in a thread of its own, which only ever runs while `to` waits for it: between two calls the model
    may be changed and used. `close` ends it where it stands.
    """

    def __init__(self, model: Suspect, names: Sequence[str], images_NCHW: Tensor) -> None:
        self._met: SimpleQueue[tuple[str, Tensor] | BaseException | None] = SimpleQueue()
        self._go: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(model, names, images_NCHW), daemon=True)

    def to(self, name: str) -> Tensor:
        """Go on to the layer and wait there; its inputs (N, ...). Raises LookupError where the pass does not meet it
        any more, and whatever the model raised."""
        if self._thread.ident is None:
            self._thread.start()
        while True:
            self._go.put(True)
            met = self._met.get()
            if isinstance(met, BaseException):
                raise met
            if met is None:
                raise LookupError(f"The pass does not meet {name} any more.")
            if met[0] == name:
                return met[1]

    def close(self) -> None:
        if self._thread.ident is not None:
            self._go.put(False)
            self._thread.join()

    def _run(self, model: Suspect, names: Sequence[str], images_NCHW: Tensor) -> None:
        try:
            self._wait()
            look_at(model, names, images_NCHW, self._show)
            self._met.put(None)
        except _Enough:
            pass
        except BaseException as error:  # whoever waits for the layer must hear of it
            self._met.put(error)

    def _show(self, name: str, inputs: Tensor) -> None:
        self._met.put((name, inputs))
        self._wait()

    def _wait(self) -> None:
        if not self._go.get():
            raise _Enough
