"""Whose a folder is: taking one for a run without ever touching what others put there.

A folder is a run of ours when its state.json says so, or, after that is gone, its result.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from auditor.errors import InputError, OutputError, printable
from auditor.files import cannot_write, is_temporary, read_plain, write_bytes
from auditor.runs.seal import SUMS

STATE, RESULT, EVENTS, EVIDENCE, LOCK = "state.json", "result.json", "events.jsonl", "evidence", ".lock"
STAGES, FRAMES = f"{EVIDENCE}/stages", f"{EVIDENCE}/frames"
FORMAT = 1
_OWNER = "auditor"
_LARGEST_STATE, _LARGEST_RESULT = 2**20, 64 * 2**20
# Files that a run leaves beside its evidence, and the kinds of file that evidence is stored in.
# result.json goes last: it may be all that shows the folder is ours.
_OWN_FILES = (
    SUMS, "report.html", "report.pdf", "sanitized.onnx", "sanitized.safetensors", EVENTS, RESULT,
)  # fmt: skip
_OWN_SUFFIXES = (".npz", ".json", ".png", ".onnx", ".safetensors")


def check_claim(path: Path, fingerprint: Mapping[str, str], force: bool) -> bool:
    """Whether the folder holds a run with this fingerprint; False when it is new, empty or to be cleared.

    Raises OutputError when it is neither, and OSError when it cannot be listed.
    """
    if not path.exists() and not path.is_symlink():
        return False
    shown = printable(path)
    if not path.is_dir():
        raise OutputError(f"{shown} is not a folder.", "Give another folder with -o.")
    if all(entry.name == LOCK or is_temporary(entry.name) for entry in path.iterdir()):
        return False
    state = _read_state(path)
    if state is None and not _holds_result(path):
        raise OutputError(
            f"{shown} is not empty and holds no run of auditor.",
            "Give a new or empty folder with -o; --force only replaces an earlier run.",
        )
    if force:
        return False
    differing = _differing(state, fingerprint)
    if not differing:
        return True
    raise OutputError(
        f"{shown} holds another run ({differing}).", "Give another folder with -o, or replace that run with --force."
    )


def _read_state(path: Path) -> dict[str, Any] | None:
    state = _read_object(path / STATE, _LARGEST_STATE)
    return state if state is not None and state.get("tool") == _OWNER else None


def _holds_result(path: Path) -> bool:
    result = _read_object(path / RESULT, _LARGEST_RESULT) or {}
    tool = result.get("tool")
    return "schema_version" in result and isinstance(tool, dict) and tool.get("name") == _OWNER


def _read_object(path: Path, limit: int) -> dict[str, Any] | None:
    """A JSON object from a file that may be anything; None when it is not one."""
    try:
        found = json.loads(read_plain(path, limit))
    except (OSError, InputError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _differing(state: dict[str, Any] | None, fingerprint: Mapping[str, str]) -> str:
    """What sets the stored run apart, in words; empty when nothing does."""
    if state is None:
        return "a finished one that cannot be resumed"
    stored = state.get("fingerprint")
    if state.get("format") != FORMAT or not isinstance(stored, dict):
        return "made by another version of auditor"
    names = sorted(key for key in {*stored, *fingerprint} if stored.get(key) != fingerprint.get(key))
    return f"different: {', '.join(printable(name, 40) for name in names[:8])}" if names else ""


def take_over(path: Path, fingerprint: Mapping[str, str], force: bool) -> None:
    """Make the folder, whose lock is held, one of this run: resumed, new, or cleared of an earlier run.

    Raises OutputError.
    """
    try:
        if not check_claim(path, fingerprint, force):
            _remove_own_files(path)
            _write_state(path, fingerprint)
        (path / EVIDENCE).mkdir(exist_ok=True)
        _refuse_link(path / EVIDENCE)
        _clear_temporaries(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write_state(path: Path, fingerprint: Mapping[str, str]) -> None:
    state = {"tool": _OWNER, "format": FORMAT, "fingerprint": dict(fingerprint)}
    write_bytes(path / STATE, (json.dumps(state, indent=2, sort_keys=True) + "\n").encode("ascii"))


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise OutputError(f"{printable(folder)} is a link, not a folder.", "Remove it, or give another folder with -o.")


def _clear_temporaries(path: Path) -> None:
    """Remove what interrupted writes left."""
    leftovers = [entry for entry in path.iterdir() if is_temporary(entry.name)]
    for root, _, names in os.walk(path / EVIDENCE):
        leftovers += [Path(root) / name for name in names if is_temporary(name)]
    for entry in leftovers:
        entry.unlink(missing_ok=True)


def _remove_own_files(path: Path) -> None:
    """Remove the files a run writes, and folders that are then empty; state.json and .lock stay.

    Finished stages go first: a kill in between leaves a run that is resumed from its beginning.
    """
    for folder in (path / EVIDENCE, path / STAGES):
        _refuse_link(folder)
    for folder in (path / STAGES, path / EVIDENCE):
        _clear(folder)
    for name in _OWN_FILES:
        (path / name).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    for root, _, names in os.walk(folder, topdown=False):
        here = Path(root)
        for name in names:
            entry = here / name
            if is_temporary(name) or (entry.suffix in _OWN_SUFFIXES and not entry.is_symlink()):
                entry.unlink(missing_ok=True)
        with suppress(OSError):
            here.rmdir()
