"""How the process ends with its interface, and with its terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

# Says "up" when all that is left is to wait for the hang-up.
WATCHING = """
import select, sys
from auditor.tui.leaving import end_with_terminal
real = select.poll
class Told:
    def __init__(self):
        self.watched = real()
    def register(self, *args):
        self.watched.register(*args)
    def poll(self):
        print("up", flush=True)
        return self.watched.poll()
select.poll = Told
end_with_terminal(sys.stdin.fileno())
"""


def test_a_terminal_that_is_gone_ends_the_process_though_it_is_not_its_own() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", WATCHING], stdin=slave, stdout=subprocess.PIPE, start_new_session=True)
    os.close(slave)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    assert process.poll() is None
    os.close(master)
    assert process.wait(timeout=20) in (-signal.SIGHUP, 128 + signal.SIGHUP)


def test_input_that_is_no_terminal_may_end() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHING], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0
