"""Ctrl-C while a library's call in a child process is waited for, at a real terminal."""

import os
import pty
import sys

from .test_confirm import ROOT, read_until

WAIT = """
import asyncio, sys, time
from kvmlun import apart
from kvmlun.cli import progress

async def wait():
    with progress.written() as waits:
        print("begun", flush=True)
        apart.call("it", 10, time.sleep, 60, waits=waits)

try:
    asyncio.run(wait())
except KeyboardInterrupt:
    print("ended")
"""


def test_one_ctrl_c_ends_it_without_a_word_of_the_child():
    child, terminal = pty.fork()
    if child == 0:
        environment = {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, "-c", WAIT], environment)
    try:
        read_until(terminal, b"waiting for it (1 s)")
        os.write(terminal, b"\x03")
        told = read_until(terminal, b"ended")
        assert b"ended" in told and b"(5 s)" not in told and b"Process" not in told
    finally:
        os.close(terminal)  # which ends it, if need be
        os.waitpid(child, 0)
