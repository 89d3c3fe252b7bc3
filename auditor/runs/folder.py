"""An open run folder: reading and writing its stages, events and files."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from auditor.domain import AuditResult
from auditor.plain import to_json
from auditor.errors import InputError, OutputError, UsageError, printable
from auditor.events import Event
from auditor.files import cannot_write, inside, read_plain, replacing, write_bytes
from auditor.runs.journal import Journal
from auditor.runs.locks import FolderLock
from auditor.runs.ownership import EVENTS, EVIDENCE, FRAMES, LOCK, RESULT, STAGES, STATE, check_claim, take_over
from auditor.runs.pictures import compact
from auditor.runs.seal import SUMS, write_seal

MAX_STAGE_BYTES = 64 * 2**20
MANY_FRAMES, MOST_FRAMES = 1000, 2000
_STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_OWN_WRITERS = frozenset({STATE, EVENTS, LOCK, SUMS})


class RunFolder:
    """An open run folder, locked against other processes until `close`. Use `RunFolder.open`.

    Its methods raise OutputError when something cannot be written or leads out of the folder.
    """

    def __init__(self, path: Path, lock: FolderLock, journal: Journal) -> None:
        self.path = path
        self._lock = lock
        self._journal = journal
        self._frames = sum(1 for _ in (path / FRAMES).glob("*.npz"))

    @classmethod
    def open(cls, path: Path, *, fingerprint: Mapping[str, str], force: bool = False) -> RunFolder:
        """Create the folder, or resume it when it holds a run with the same fingerprint.

        `force` starts over instead, in a folder that holds a run of ours: files that we write
        are removed, any other stays. A folder with other content and no run of ours is never
        taken over. Raises OutputError before anything is written.
        """
        path = path.absolute()
        try:
            check_claim(path, fingerprint, force)
            path.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(path / LOCK)
        except OSError as error:
            raise cannot_write(path, error) from error
        except InputError as error:
            raise OutputError(error.what, error.next_step) from error
        try:
            take_over(path, fingerprint, force)
            return cls(path, lock, _open_journal(path))
        except BaseException:
            lock.release()
            raise

    @property
    def evidence(self) -> Path:
        return self.path / EVIDENCE

    def close(self) -> None:
        """Let go of the folder; what was written stays. A second call does nothing."""
        self._journal.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stage(self, name: str) -> dict[str, Any] | None:
        """The stored part of a finished stage; None when it has to be run."""
        try:
            part = json.loads(read_plain(self._stage_path(name), MAX_STAGE_BYTES))
        except (OSError, InputError, ValueError, RecursionError):
            return None
        return part if isinstance(part, dict) else None

    def finish_stage(self, name: str, part: Any) -> None:
        """Store the part of a stage, a dataclass or dict; from now on the stage is finished.

        Write the files it names first. Raises UsageError on another type.
        """
        if not (isinstance(part, dict) or (dataclasses.is_dataclass(part) and not isinstance(part, type))):
            raise UsageError(f"The part of stage {name!r} is a {type(part).__name__}, not a dataclass or dict.")
        path = self._stage_path(name)
        self._write(path.relative_to(self.path).as_posix(), _encode(to_json(part)))

    def forget(self, *names: str) -> None:
        """Make these stages unfinished, so that they are run again."""
        for name in names:
            self.discard(self._stage_path(name).relative_to(self.path).as_posix())

    def target(self, relative: str) -> Path:
        """The path of a file in the folder for someone else to write, its folder made, the seal removed.

        Raises OutputError when it leads out of the run folder or is one that only this class writes.
        """
        try:
            path = inside(self.path, relative)
            if path.relative_to(self.path).as_posix() in _OWN_WRITERS:
                raise OutputError(f"{relative} belongs to the run folder itself.", "Choose another name.")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._unseal()
        except OSError as error:
            raise cannot_write(self.path / relative, error) from error
        except InputError as error:
            raise OutputError(error.what, error.next_step) from error
        return path

    def write_text(self, relative: str, text: str) -> Path:
        """Write a file as UTF-8, line ends as given; returns its path."""
        return self._write(relative, _encode(text))

    def write_bytes(self, relative: str, content: bytes) -> Path:
        """Write a file; returns its path."""
        return self._write(relative, content)

    def save_arrays(self, relative: str, **arrays: ArrayLike) -> Path:
        """Write a compressed .npz; returns its path. Raises TypeError on arrays of Python objects."""
        return self._save(relative, arrays, durable=True)

    def discard(self, relative: str) -> None:
        """Remove a file of the folder, if it is there; a link is removed, not what it points to."""
        path = self.target(relative)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def record(self, event: Event) -> Event:
        """Number and time the event and add it to the log; returns it, arrays still in it.

        The log instead names the files that the arrays are stored in, evidence/frames/<number>.npz;
        `load_picture` reads them. After `MANY_FRAMES` only every tenth event's are stored, after
        `MOST_FRAMES` none: the log then names no file.
        """
        self._unseal()
        numbered = self._journal.stamp(event)
        arrays = {f.name: getattr(numbered, f.name) for f in dataclasses.fields(numbered)}
        arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
        stored: dict[str, str | None] = dict.fromkeys(arrays)
        for name, array in arrays.items() if self._has_room(numbered.number) else ():
            suffix = f"-{name}" if len(arrays) > 1 else ""
            path = f"{FRAMES}/{numbered.number}{suffix}.npz"
            self._save(path, {"picture": compact(array)}, durable=False)
            stored[name] = path
            self._frames += 1
        self._journal.append(dataclasses.replace(numbered, **stored))  # type: ignore[arg-type]
        return numbered

    def _has_room(self, number: int) -> bool:
        """Whether the arrays of this event are stored: pictures must not fill the disk, however long the run."""
        return self._frames < MANY_FRAMES or (number % 10 == 0 and self._frames < MOST_FRAMES)

    def write_result(self, result: AuditResult) -> Path:
        """Write result.json; returns its path."""
        return self._write(RESULT, _encode(to_json(result)))

    def seal(self) -> None:
        """Write SHA256SUMS over everything in the folder; the run is then complete."""
        self._unseal()
        try:
            write_seal(self.path)
        except OSError as error:
            raise cannot_write(self.path / SUMS, error) from error

    def _unseal(self) -> None:
        """Remove the seal, as every write does first. Raises OutputError once the folder is closed."""
        if self._journal.is_closed:
            raise OutputError(f"{printable(self.path)} is closed.", "Open the run folder again.")
        try:
            (self.path / SUMS).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path / SUMS, error) from error

    def _stage_path(self, name: str) -> Path:
        if not _STAGE_NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a name for a stage.", "Use lower-case letters, digits, - and _.")
        return self.path / STAGES / f"{name}.json"

    def _write(self, relative: str, content: bytes) -> Path:
        path = self.target(relative)
        write_bytes(path, content)
        return path

    def _save(self, relative: str, arrays: Mapping[str, ArrayLike], *, durable: bool) -> Path:
        plain: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        objects = [name for name, value in plain.items() if value.dtype.hasobject]
        if objects:
            raise TypeError(f"array {objects[0]!r} holds Python objects, which are never pickled")
        path = self.target(relative)
        with replacing(path, durable=durable) as stream:
            np.savez_compressed(stream, **plain)
        return path


def _open_journal(path: Path) -> Journal:
    """The event log, after removing frames of events that never reached it."""
    try:
        journal = Journal(path / EVENTS)
    except OSError as error:
        raise cannot_write(path / EVENTS, error) from error
    except InputError as error:
        raise OutputError(error.what, error.next_step) from error
    frames = path / FRAMES
    for frame in frames.glob("*.npz") if not frames.is_symlink() else ():
        number = frame.stem.partition("-")[0]
        if number.isdecimal() and int(number) > journal.number:
            frame.unlink(missing_ok=True)
    return journal


def _encode(text: str) -> bytes:
    """UTF-8; a lone surrogate, as in a file name of undecodable bytes, becomes its JSON escape."""
    return text.encode("utf-8", "backslashreplace")
