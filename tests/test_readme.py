"""What the README says is what the program does: its commands parse, its tables and links are true, its code runs."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import planted
import pytest
import torch
import typer

from auditor import triggers
from auditor.cli.main import app
from auditor.domain import Verdict, VerdictLabel, exit_code
from auditor.errors import AuditorError, Cancelled
from auditor.events import Control, drain
from auditor.request import Request
from auditor.search.budgets import Budget
from auditor.search.synthesis import synthesize
from auditor.unlearn.method import Reading, Task

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUP: Any = typer.main.get_command(app)
CODE = "".join(re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
LINES = re.findall(r"^auditor .+", CODE, re.MULTILINE)
INLINE = [line for line in re.findall(r"`(auditor [a-z][^`]*)`", README) if "VERB" not in line]


def python_block(heading: str) -> str:
    """The python block that begins with the name of a file."""
    found = re.search(rf"^```python\n# {re.escape(heading)}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


@pytest.mark.parametrize("line", LINES + INLINE)
def test_every_command_line_parses(line: str) -> None:
    verb, *arguments = shlex.split(line, comments=True)[1:]
    assert verb in GROUP.commands
    GROUP.commands[verb].make_context(verb, arguments)  # raises on an unknown flag, choice or missing argument


def test_some_command_lines_were_found() -> None:
    assert len(LINES) >= 2 and any("tui" in line for line in INLINE)


def test_the_verbs_are_all_there_with_their_own_help() -> None:
    rows = {cells[0].strip("`").split()[0]: cells for cells in table("Verbs")}
    assert list(rows) == list(GROUP.commands)
    for name, command in GROUP.commands.items():
        assert rows[name][1].startswith(" ".join(command.help.split())), name
        known = {option for parameter in command.params for option in parameter.opts}
        for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(rows[name])):
            assert flag in known, (name, flag)


def test_every_flag_named_anywhere_is_one_of_ours() -> None:
    known = {o for command in GROUP.commands.values() for p in command.params for o in p.opts} | {"--help"}
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert said and said <= known, said - known


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = {int(cells[0]): cells[1] for cells in table("Exit codes")}
    pending, errors = [AuditorError], set()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        errors.add(kind.exit_code)
    labels: tuple[VerdictLabel, ...] = ("no_evidence", "backdoored", "inconclusive")
    verdicts = {label: exit_code(Verdict(label=label, score=None)) for label in labels}
    assert set(rows) == errors | set(verdicts.values())
    assert "no evidence" in rows[verdicts["no_evidence"]] and "sanitized" in rows[0]
    assert exit_code(Verdict(label="backdoored", score=None), sanitized=True) == 0
    assert "backdoor found" in rows[verdicts["backdoored"]]
    assert rows[verdicts["inconclusive"]].startswith("inconclusive")
    assert rows[Cancelled.exit_code].startswith("interrupted")
    listed = dict(re.findall(r"^  (\d+)  (.+)$", GROUP.epilog, re.MULTILINE))
    assert {int(code) for code in listed} == set(rows)
    assert all(rows[int(code)].startswith(said.split(" and ")[0].split(":")[0]) for code, said in listed.items())


def test_every_file_named_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith(("http", "#"))]
    named = re.findall(r"`((?:auditor|tests|docs|samples|benchmarks)/[\w./]+)`", README)
    assert "docs/tui.svg" in links and named
    missing = [path for path in links + named if not (ROOT / path).exists()]
    assert missing == []


def test_the_picture_loads_nothing() -> None:
    picture = (ROOT / "docs" / "tui.svg").read_text(encoding="utf-8")
    assert "Backdoor&#160;found" in picture
    assert not re.search(r"url\(\"?http|<script|<image|@import|@font-face|href=", picture)


def test_the_library_example_takes_known_arguments() -> None:
    call = next(
        node for block in re.findall(r"^```python\n(import auditor.*?)^```", README, re.DOTALL | re.MULTILINE)
        for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call) and "scan" in ast.unparse(node.func)
    )  # fmt: skip
    assert call.keywords and {k.arg for k in call.keywords} <= set(Request.__dataclass_fields__)


def test_the_family_of_the_guide_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the guide's family, put where it says
    monkeypatch.setattr(triggers, "STAMPS", dict(triggers.STAMPS))
    monkeypatch.setattr(triggers, "PARAMETERS", dict(triggers.PARAMETERS))
    space: dict[str, Any] = {"__name__": __name__, "FAMILIES": {}}
    exec(python_block("auditor/search/tint.py"), space)
    space |= {name: getattr(triggers, name) for name in ("STAMPS", "PARAMETERS", "ParameterSpec")}
    exec(python_block("auditor/triggers.py"), space)
    monkeypatch.setattr(triggers, "stamp_tint", space["stamp_tint"], raising=False)
    # When it is searched
    images, labels = planted.planted_images(24)
    budget = Budget(restarts=1, first_steps=0, steps=6, refine_steps=2, batch_size=6)
    found = drain(synthesize(planted.planted(), images, labels, classes=range(4), budget=budget, seed=0,
                             control=Control(), families=space["FAMILIES"]))  # fmt: skip
    # Then every class has a candidate that stamps and can be kept
    assert [c.family for c in found.candidates] == ["tint"] * 4
    stamped = found.candidates[0].trigger.stamp(images)
    assert stamped.shape == images.shape and not torch.equal(stamped, images)


def test_the_trigger_of_the_guide_can_be_saved_and_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = {"tint": triggers.ParameterSpec(axes="C", low=-1, high=1)}
    monkeypatch.setitem(triggers.PARAMETERS, "tint", spec)
    tint = torch.tensor([0.1, -0.2, 0.3]).numpy()
    triggers.Trigger(family="tint", target_class=1, parameters={"tint": tint}).save(tmp_path / "t.npz")
    assert triggers.Trigger.load(tmp_path / "t.npz").parameters["tint"].tolist() == tint.tolist()


def test_the_method_of_the_guide_unlearns(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the guide's method and a suspect with its trigger
    space: dict[str, Any] = {"__name__": __name__, "METHODS": {}}
    exec(python_block("auditor/unlearn/relabel.py"), space)
    suspect, trigger = planted.planted(), planted.corner_trigger()
    before = suspect.state()
    images, labels = planted.planted_images(24)

    def monitor(model: Any) -> Reading:
        flips = model.predict(trigger.stamp(images)) == planted.TARGET
        return Reading(clean_accuracy=float((model.predict(images) == labels.numpy()).mean()),
                       attack_success_rate=float(flips.mean()))  # fmt: skip

    task = Task(suspect=suspect, images=images, labels=labels, triggers=[trigger], monitor=monitor, seed=0,
                control=Control())  # fmt: skip
    # When it runs
    method = space["METHODS"]["relabel"]
    sanitized = drain(method.run(task))
    # Then a copy has changed, the trigger works less, and the suspect is as it was
    assert all(torch.equal(value, before[name]) for name, value in suspect.state().items())
    assert monitor(sanitized).attack_success_rate < monitor(suspect).attack_success_rate


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda path: path.name)
def test_pictures_hold_no_path_of_the_machine_they_were_made_on(picture: Path) -> None:
    assert not re.findall(r"(?<![:/\w])/(?:home|root|work|Users|tmp|mnt)/[\w.-]+", picture.read_text(encoding="utf-8"))
