"""`SHA256SUMS`: what every file of a run folder hashes to, in the format `sha256sum -c` reads.

It detects change after the run ended. It does not say who made the run: for that, sign the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from auditor.errors import InputError, OutputError, printable
from auditor.files import inside, is_temporary, read_plain, sha256_of, write_bytes

SUMS = "SHA256SUMS"
UNSEALED = frozenset({SUMS, ".lock", "state.json"})
_LARGEST_SUMS = 16 * 2**20
_LINE = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


def write_seal(folder: Path) -> None:
    """Write SHA256SUMS over every file of `folder`, sorted by path, but `UNSEALED`.

    Leftovers of interrupted writes are removed first. Raises OutputError, also when something
    in the folder is not a plain file.
    """
    lines = []
    for relative, path in sorted(_files(folder)):
        if is_temporary(path.name):
            path.unlink(missing_ok=True)
            continue
        try:
            lines.append(_line(sha256_of(path), relative))
        except (OSError, InputError) as error:
            raise OutputError(
                f"{printable(path)} cannot be sealed: it is not a readable, plain file.",
                "Remove it from the run folder, then run the same command again.",
            ) from error
    write_bytes(folder / SUMS, b"".join(lines))


def verify_seal(folder: Path) -> list[str]:
    """What is wrong with a sealed run folder, one line each; empty when nothing is.

    The folder may come from anyone: names that lead out of it are reported, links are not
    followed, and nothing but regular files is read.
    """
    try:
        content = read_plain(folder / SUMS, _LARGEST_SUMS)
    except FileNotFoundError:
        return [f"{SUMS} is missing: the run was not finished, or was changed."]
    except (OSError, InputError):
        return [f"{SUMS} cannot be read."]
    problems: list[str] = []
    listed: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        entry = _parse(line)
        if entry is None or entry[1] in listed:
            problems.append(f"{SUMS}: line {number} is {'not a checksum' if entry is None else 'a repetition'}.")
        else:
            listed[entry[1]] = entry[0]
    present = {relative for relative, _ in _files(folder)}
    problems += [_difference(folder, relative, digest) for relative, digest in sorted(listed.items())]
    problems += [f"{printable(relative)} is not listed." for relative in sorted(present - set(listed))]
    return [problem for problem in problems if problem]


def _difference(folder: Path, relative: str, digest: str) -> str:
    """How a listed file departs from its digest; empty when it does not."""
    shown = printable(relative)
    try:
        path = inside(folder, relative)
        return "" if sha256_of(path) == digest else f"{shown} was changed."
    except FileNotFoundError:
        return f"{shown} is missing."
    except (OSError, InputError):
        return f"{shown} is not a readable, plain file of this folder."


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything in the folder that is not a folder, links to folders included, with its relative path."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in [*names, *links]:
            relative = (here / name).relative_to(folder).as_posix()
            if relative not in UNSEALED:
                yield relative, here / name


def _line(digest: str, relative: str) -> bytes:
    """One line as GNU sha256sum writes it: names with a line break are escaped, and the line marked."""
    name = os.fsencode(relative)
    escaped = re.sub(rb"[\\\n\r]", lambda found: _ESCAPES[found[0]], name)
    return (b"\\" if escaped != name else b"") + digest.encode("ascii") + b"  " + escaped + b"\n"


def _parse(line: bytes) -> tuple[str, str] | None:
    """The digest and relative path of a line, or None when it is not one."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    name = found[3]
    if found[1]:
        name = re.sub(rb"\\[\\nr]", lambda part: _UNESCAPES[part[0]], name)
    return found[2].decode("ascii"), os.fsdecode(name)
