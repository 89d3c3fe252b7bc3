"""One process at a time in a folder, by an advisory lock that the system drops when the holder dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from auditor.errors import OutputError, printable
from auditor.files import open_plain

_PID_DIGITS = 10


class FolderLock:
    """Holds the lock file `path` from construction to `release`, which removes it.

    Raises OutputError, naming the holder's process id, while someone else holds it; and
    OSError or InputError when the file cannot be made or is not a plain one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._acquire()

    def _acquire(self) -> int:
        while True:
            descriptor = open_plain(self._path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, str(os.getpid()).encode("ascii"))
                    return descriptor
            except BlockingIOError as error:
                holder = os.read(descriptor, _PID_DIGITS)
                os.close(descriptor)
                raise self._busy(holder) from error
            except OSError:
                os.close(descriptor)
                raise
            # The former holder removed the file between our opening and locking it.
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file we locked is still the one others would open."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def _busy(self, holder: bytes) -> OutputError:
        pid = f" (process {holder.decode('ascii')})" if holder.isdigit() else ""
        return OutputError(
            f"{printable(self._path.parent)} is in use by another audit{pid}.",
            "Wait until it ends, or give another folder with -o.",
        )

    def release(self) -> None:
        """Remove the file, then let go of it; a second call does nothing."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1
