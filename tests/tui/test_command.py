"""The command that repeats what was done in the interface."""

from __future__ import annotations

from auditor.request import Request
from auditor.tui.command import command


def test_only_what_differs_from_the_defaults_is_said() -> None:
    request = Request(model="m.pt", clean="images", output="runs/m")
    assert command(request, "scan") == ["scan", "m.pt", "--clean", "images", "-o", "runs/m"]


def test_method_and_profile_are_said() -> None:
    request = Request(model="m.pt", output="r", profile="quick", method="prune", arch="cifar:resnet20", force=True)
    assert command(request, "audit") == [
        "audit", "m.pt", "--arch", "cifar:resnet20", "-o", "r", "--profile", "quick", "--method", "prune", "--force",
    ]  # fmt: skip
