"""What the child gives up before it looks at a hostile file. All best effort but the limits."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def isolate() -> None:
    """Leave the network, die with the parent, gain no privileges; skipped where not available.

    Must run before torch is imported: a process with threads cannot enter a user namespace.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def limit_time_and_files(cpu_s: int, file_bytes: int) -> None:
    """Cap processor seconds and the size of any file written; no core dumps."""
    _set(resource.RLIMIT_CPU, cpu_s)
    _set(resource.RLIMIT_FSIZE, file_bytes)
    _set(resource.RLIMIT_CORE, 0)


def limit_memory(extra_bytes: int, *, for_good: bool) -> None:
    """Cap the address space at its size now plus `extra_bytes`. Importing torch alone takes
    over 3 GB, so the cap is relative; unless `for_good` it can be lifted again."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return
    now = int(status.read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = now + extra_bytes if hard == resource.RLIM_INFINITY else min(now + extra_bytes, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit if for_good else hard))


def lift_memory_limit() -> None:
    """Undo `limit_memory(..., for_good=False)`."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _set(kind: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))
