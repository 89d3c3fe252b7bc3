"""The command that repeats what was done in the interface."""

from __future__ import annotations

import pytest
from typer.main import get_command

from auditor.cli.main import app
from auditor.request import Request
from auditor.tui.command import command

FULL = Request(model="m.pt", clean="images", output="r", profile="quick", method="prune", arch="cifar:resnet20",
               settings={"share": 0.5}, force=True)  # fmt: skip


def test_only_what_differs_from_the_defaults_is_said() -> None:
    request = Request(model="m.pt", clean="images", output="runs/m")
    assert command(request, "audit") == ["audit", "m.pt", "--clean", "images", "-o", "runs/m"]
    assert command(request, "scan") == ["scan", "m.pt", "--clean", "images"]


def test_method_and_profile_are_said() -> None:
    assert command(FULL, "audit") == [
        "audit", "m.pt", "--clean", "images", "--arch", "cifar:resnet20", "-o", "r", "--profile", "quick", "--method",
        "prune", "--set", "share=0.5", "--force",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", ["scan", "audit"])
def test_the_command_line_takes_what_is_said(verb: str) -> None:
    verbs = get_command(app)
    found = verbs.get_command(verbs.make_context("auditor", [], resilient_parsing=True), verb)  # type: ignore[attr-defined]
    assert found.make_context(verb, command(FULL, verb)[1:]).params["model"] == "m.pt"
