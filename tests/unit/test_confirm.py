"""The question before what cannot be taken back, at a real terminal."""

import os
import pty
import select
import sys
from pathlib import Path

ASK = """
import asyncio
from kvmlun.cli.confirm import confirm

async def ask():
    try:
        confirm("", "It hurts.", False)
    except KeyboardInterrupt:
        await asyncio.sleep(0)  # there is time to tidy up
        print("ended")

asyncio.run(ask())
"""
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20


def read_until(terminal, text):
    """Read until the text comes, or everything."""
    said = b""
    while text not in said and select.select([terminal], [], [], SECONDS)[0]:
        try:
            said += os.read(terminal, 1000)
        except OSError:  # as a terminal says that nobody is left
            break
    return said


def test_one_ctrl_c_ends_the_question():
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", ASK], {"PYTHONPATH": str(ROOT)})
    try:
        assert b"It hurts. Type yes: " in read_until(terminal, b"yes: ")
        os.write(terminal, b"\x03")
        assert b"ended" in read_until(terminal, b"ended")
    finally:
        os.close(terminal)  # which ends it, if need be
        os.waitpid(child, 0)
