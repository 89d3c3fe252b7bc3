"""Verbs, exit codes, usage errors and streams, through `main`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cli_fakes as fakes
import pytest

from auditor.cli.main import app, main
from auditor.errors import InputError, UsageError
from auditor.plain import to_plain

VERBS = ["scan", "audit", "sanitize", "verify", "export", "report", "inspect", "tui", "doctor", "schema"]


def run_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
@pytest.mark.parametrize("format_name", ["text", "json"])
def test_the_exit_code_is_the_results_in_every_format(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], code: int, format_name: str
) -> None:
    library.result = fakes.scanned("no_evidence", code)
    assert main(["scan", "model.pt", "--format", format_name]) == code


def test_a_result_without_an_exit_code_counts_as_not_run(library: fakes.FakeLibrary) -> None:
    library.result = fakes.ended(None)  # type: ignore[arg-type]
    assert main(["scan", "model.pt"]) == 2


def test_json_is_exactly_the_result(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    library.events = fakes.typical_events()
    code = main(["audit", "model.pt", "-o", "run", "--format", "json", "-v"])
    printed = capsys.readouterr()
    assert code == 0
    assert json.loads(printed.out) == to_plain(library.result)
    assert "Searching" in printed.err


def test_json_is_printed_for_errors_too(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    library.result = fakes.failed(2, "gone.pt does not exist.", "Check the path.")
    assert main(["scan", "gone.pt", "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["errors"][0]["what"] == "gone.pt does not exist."
    assert json.loads(printed.out)["verdict"] is None
    assert "auditor scan: gone.pt does not exist.\n  Check the path." in printed.err


def test_formats_go_to_files_as_well(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    as_json, as_text = tmp_path / "r.json", tmp_path / "r.txt"
    as_json.write_text("old")
    code = main(["scan", "m.pt", "--format", f"json={as_json}", "--format", f"text={as_text}"])
    assert code == 0
    assert json.loads(as_json.read_text()) == to_plain(library.result)
    assert as_text.read_text() == capsys.readouterr().out != ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.txt"]


def test_a_text_file_holds_the_errors_that_stdout_leaves_to_stderr(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    library.result = fakes.failed(3, "No architecture fits.", "Pass --arch.")
    assert main(["scan", "m.pt", "--format", f"text={tmp_path / 'r.txt'}"]) == 3
    printed = capsys.readouterr()
    assert "No architecture fits." in (tmp_path / "r.txt").read_text()
    assert "No architecture fits." not in printed.out
    assert "auditor scan: No architecture fits.\n  Pass --arch." in printed.err


def test_an_output_that_cannot_be_written_is_exit_2(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Given a folder that disappears while the audit runs
    folder = tmp_path / "out"
    folder.mkdir()

    def vanish(*_: Any) -> fakes.Stream:
        folder.rmdir()
        yield from fakes.typical_events()
        return library.result

    library.body = vanish
    assert main(["scan", "m.pt", "--format", f"text={folder / 'r.txt'}", "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert "cannot be written" in printed.err
    plain = json.loads(printed.out)
    assert plain["run"]["exit_code"] == 2
    assert plain["errors"][-1]["kind"] == "output"
    assert plain["verdict"]["label"] == "backdoored"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["scna", "m.pt"], "Did you mean 'scan'"),
        (["scan"], "MODEL"),
        (["scan", "m.pt", "extra"], "extra"),
        (["scan", "m.pt", "--no-such"], "--no-such"),
        (["scan", "m.pt", "--method", "prune"], "--method"),
        (["audit", "m.pt"], "--output"),
        (["verify", "m.pt"], "--against"),
        (["scan", "m.pt", "--profile", "fast"], "'quick', 'standard', 'deep'"),
        (["scan", "m.pt", "--normalize", "mnist"], "cifar10"),
        (["audit", "m.pt", "-o", "r", "--method", "prnue"], "Did you mean prune?"),
        (["scan", "m.pt", "--mean", "0.5"], "belong together"),
        (["scan", "m.pt", "--mean", "0.5", "--std", "a"], "--std takes one number"),
        (["scan", "m.pt", "--mean", "nan", "--std", "1"], "--mean takes one number"),
        (["scan", "m.pt", "--mean", "125.3", "--std", "63"], "[0, 1] units"),
        (["scan", "m.pt", "--mean", "0.5", "--std", "0"], "above 0"),
        (["scan", "m.pt", "--mean", "0.5,0.5", "--std", "1,1,1"], "2 numbers and --std 3"),
        (["scan", "m.pt", "--mean", "0.5", "--std", "1", "--normalize", "none"], "exclude each other"),
        (["scan", "m.pt", "--targets", "3;4"], "class indices"),
        (["scan", "m.pt", "--targets", "-1"], "class indices"),
        (["scan", "m.pt", "--targets", "10", "--num-classes", "10"], "not below --num-classes 10"),
        (["scan", "m.pt", "--time-budget", "soon"], "90s, 10m or 1h"),
        (["scan", "m.pt", "--time-budget", "0"], "90s, 10m or 1h"),
        (["scan", "m.pt", "--device", "gpu"], "auto, cpu, cuda or cuda:N"),
        (["scan", "m.pt", "--threads", "0"], "--threads"),
        (["scan", "m.pt", "--seed", "-1"], "--seed"),
        (["scan", "m.pt", "--format", "xml"], "text or json"),
        (["scan", "m.pt", "--format", "json="], "text or json"),
        (["scan", "m.pt", "--format", "json", "--format", "text"], "one format only"),
        (["scan", "m.pt", "--format", "json=/no/such/folder/r.json"], "does not exist"),
        (["scan", "m.pt", "--factory", "net.py:make"], "--allow-code"),
        (["scan", "m.pt", "--factory", "net.py:make", "--allow-code", "--arch", "x"], "exclude each other"),
        (["tui"], "needs a terminal"),
    ],
)
def test_usage_errors_are_one_clear_line_and_a_hint(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == ""
    assert library.calls == []
    assert len(lines) == 2
    assert said in printed.err
    assert lines[0].startswith("auditor")
    assert "--help`" in lines[1]


def test_a_usage_error_of_the_library_prints_no_object(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> fakes.Stream:
        raise UsageError("--arch nonsense is not known.", "Did you mean timm:resnet18?")
        yield  # type: ignore[unreachable]

    library.body = refuse
    assert main(["scan", "m.pt", "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "auditor scan: --arch nonsense is not known." in printed.err
    assert "`auditor scan --help`" in printed.err


def test_no_arguments_show_the_help_and_count_as_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands" in capsys.readouterr().out


def test_flags_become_the_request(library: fakes.FakeLibrary) -> None:
    argv = ["sanitize", "m.pt", "-o", "r", "--clean", "im", "--arch", "cifar:resnet20", "--num-classes", "10",
            "--input-size", "32", "--mean", "0.5", "--std", "0.2,0.3,0.4", "--targets", "7, 3,3", "--device", "cuda:1",
            "--threads", "2", "--seed", "5", "--profile", "deep", "--time-budget", "1.5m", "--method", "prune",
            "--trigger", "t.npz", "--embed-preprocessing", "--force", "--classes", "c.txt", "-q"]  # fmt: skip
    assert main(argv) == 0
    verb, request, control = library.calls[0]
    assert verb == "sanitize"
    assert (request.model, request.output, request.clean, request.arch) == ("m.pt", "r", "im", "cifar:resnet20")
    assert (request.num_classes, request.input_size, request.normalize) == (10, 32, None)
    assert (request.mean, request.std, request.targets) == ([0.5], [0.2, 0.3, 0.4], [3, 7])
    assert (request.device, request.threads, request.seed, request.profile) == ("cuda:1", 2, 5, "deep")
    assert (request.time_budget_s, request.method, request.trigger) == (90.0, "prune", "t.npz")
    assert request.embed_preprocessing and request.force and request.classes == "c.txt"
    assert request.argv == ["auditor", *argv]
    assert control.deadline is not None


def test_defaults_leave_everything_to_be_worked_out(library: fakes.FakeLibrary) -> None:
    main(["scan", "m.pt"])
    request = library.request
    assert (request.clean, request.normalize, request.mean, request.targets) == (None, None, None, None)
    assert (request.device, request.seed, request.profile, request.method) == ("auto", 0, "standard", "auto")
    assert library.calls[0][2].deadline is None


@pytest.mark.parametrize(("written", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600), ("0.5H", 1800)])
def test_time_budgets(library: fakes.FakeLibrary, written: str, expected: float) -> None:
    main(["scan", "m.pt", "--time-budget", written])
    assert library.request.time_budget_s == expected


@pytest.mark.parametrize("verb", ["verify", "export"])
def test_verify_and_export_reach_the_library(library: fakes.FakeLibrary, verb: str) -> None:
    extra = ["--against", "runs/a"] if verb == "verify" else ["-o", "m.onnx"]
    assert main([verb, "m.pt", *extra]) == 0
    assert library.calls[0][0] == verb
    assert library.request.against == ("runs/a" if verb == "verify" else None)


def test_an_unexpected_exception_is_an_internal_error_with_its_object(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    def fall_over(*_: Any) -> fakes.Stream:
        yield from fakes.typical_events()
        raise RuntimeError("a bug \x1b[31m")

    library.body = fall_over
    assert main(["scan", "m.pt", "--format", "json"]) == 2
    printed = capsys.readouterr()
    error = json.loads(printed.out)["errors"][0]
    assert error["kind"] == "internal"
    assert "RuntimeError: a bug" in error["what"]
    assert "auditor doctor" in printed.err
    assert "Traceback" not in printed.err
    assert "\x1b" not in printed.err


def test_tracebacks_are_for_vv_only(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    def fall_over(*_: Any) -> fakes.Stream:
        raise RuntimeError("a bug")
        yield  # type: ignore[unreachable]

    library.body = fall_over
    assert main(["scan", "m.pt", "-v"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["scan", "m.pt", "-vv"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("No.", "Do."), 2), (SystemExit(7), 2), (MemoryError(), 2), (OSError("x"), 2),
     (FileNotFoundError(2, "No such file", "m.pt"), 2), (BrokenPipeError(), 2), (KeyboardInterrupt(), 130)],
)
def test_whatever_the_library_raises_ends_in_a_code(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def fall_over(*_: Any) -> fakes.Stream:
        raise error
        yield  # type: ignore[unreachable]

    library.body = fall_over
    assert main(["scan", "m.pt", "--format", "json"]) == code
    assert json.loads(capsys.readouterr().out)["run"]["exit_code"] == code


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does_with_examples_and_exit_codes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr()
    assert "Examples:" in printed.out
    assert f"auditor {verb}" in printed.out
    assert "Exit codes:" in printed.out
    assert printed.err == ""


def test_the_help_lists_exactly_the_verbs() -> None:
    assert [command.name for command in app.registered_commands] == VERBS


def test_the_methods_come_from_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    from auditor.unlearn import METHODS

    main(["audit", "--help"])
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert ", ".join(["auto", *METHODS]) in shown


def test_help_loads_no_heavy_library() -> None:
    heavy = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "textual", "weasyprint", "auditor.library")
    for argv in (["--help"], ["audit", "--help"], ["--version"], ["scan", "m.pt", "--targets", "x"]):
        code = (f"import sys; from auditor.cli.main import main; main({argv!r}); "
                f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or 0)")  # fmt: skip
        found = run_python("-c", code)
        assert found.returncode == 0, f"{argv}: {found.stderr}"


def test_the_console_script_answers(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "auditor"
    if not script.exists():
        pytest.skip("the auditor script is not installed beside this Python")
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    version = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=120, check=False)
    wrong = subprocess.run([script, "scna"], capture_output=True, text=True, timeout=120, check=False)
    assert (shown.returncode, version.returncode, wrong.returncode) == (0, 0, 2)
    assert all(verb in shown.stdout for verb in VERBS)
    assert version.stdout.startswith("auditor ")
    assert "Did you mean" in wrong.stderr


def test_python_dash_m_is_the_same_command() -> None:
    assert run_python("-m", "auditor", "--version").stdout.startswith("auditor ")


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX pipe")
@pytest.mark.parametrize("argument", ["schema", "--help"])
def test_a_reader_that_leaves_early_is_no_error(argument: str) -> None:
    script = f"import sys; from auditor.cli.main import main; sys.exit(main(['{argument}']))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        found = subprocess.run([sys.executable, "-m", "auditor", "schema"], stdout=full, stderr=subprocess.PIPE,
                               text=True, timeout=60, check=False)  # fmt: skip
    assert found.returncode == 2
    assert "cannot be printed" in found.stderr
    assert "Traceback" not in found.stderr
