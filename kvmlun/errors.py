"""Every error kvmlun raises on purpose, and the exit code the command gives it.

The text of an error is one line that an operator reads in ``virsh`` or on a
terminal: what is wrong, with what, and the remedy where there is one.
"""

from __future__ import annotations

import enum

LONGEST = 1000  # characters in one line, whatever was quoted in it
# What is told of a failure that is none of the classes here.
INTERNAL = "internal error in kvmlund; see journalctl -u kvmlund"


class Exit(enum.IntEnum):
    """Exit codes of ``kvmlun``, with their meaning. They are part of the interface: never renumber.

    argparse, and a shell for who ends by a signal, use 2 and 130 as well.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        made = int.__new__(cls, code)
        made._value_, made.meaning = code, meaning
        return made

    OK = 0, "done"
    FAILED = 1, "it was tried and did not work"
    USAGE = 2, "wrong arguments, or a value of the wrong form"
    UNREACHABLE = 3, "no answer from kvmlund, or none for this user"
    UNKNOWN = 4, "no such volume, LUN, VM or connection"
    REFUSED = 5, "refused, because doing it could harm data, or because the host is drained"
    CONFIG = 6, "a configuration file is wrong"
    FOUND = 7, "something was found (kvmlun doctor)"
    UNSURE = 8, "nothing was found, but not everything could be looked at (kvmlun doctor)"
    LEFT = 9, "the host is drained, but somebody still has LUNs here (kvmlun host drain)"
    INTERRUPTED = 130, "ended by Ctrl-C; status --watch and events --follow end with 0 then"


class Error(Exception):
    """Base of all errors that an operator is meant to read."""

    name = "Failed"
    code = Exit.FAILED

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class Storage(Error):
    """open-iscsi, the kernel or the target did not do what was asked."""

    name = "Storage"


class NoAnswer(Storage):
    """A portal can't be reached."""


class Timeout(Storage):
    """A step ran out of its time; the text names the step."""

    name = "Timeout"


class Refused(Error):
    """Nothing was done because doing it could harm data."""

    name = "Refused"
    code = Exit.REFUSED


class Stale(Refused):
    """The device is not the LUN that is wanted: an old one, or an exchanged one."""


class Drained(Refused):
    """An operator wants no more LUNs on this host."""


class Config(Error):
    """A configuration file is wrong; the text gives file, line and key."""

    name = "Config"
    code = Exit.CONFIG


class Invalid(Error):
    """A value from outside (XML, YAML, D-Bus, hook) has the wrong form."""

    name = "Invalid"
    code = Exit.USAGE


class Unknown(Error):
    """The named volume or LUN does not exist."""

    name = "Unknown"
    code = Exit.UNKNOWN


class Unreachable(Error):
    """kvmlund does not answer, or not to this user."""

    name = "Unreachable"
    code = Exit.UNREACHABLE


class Found(Error):
    """Something on this host is not as it should be; what it is has been told."""

    name = "Found"
    code = Exit.FOUND


class Left(Error):
    """Somebody still has LUNs on this host; who has been told."""

    name = "Left"
    code = Exit.LEFT


class Unsure(Error):
    """Not everything could be looked at; what could be is as it should be."""

    name = "Unsure"
    code = Exit.UNSURE


def one_line(text: str) -> str:
    """Return `text` with control characters and line breaks made visible spaces.

    A long one keeps both ends: the first tells what is wrong, the last the remedy.
    """
    line = " ".join(printable(text).split())
    half = LONGEST // 2 - 1
    return line if len(line) <= LONGEST else f"{line[:half]}…{line[-half:]}"


def printable(text: str) -> str:
    """Return `text` with a space for each character that a terminal may take for a command."""
    return "".join(c if c.isprintable() else " " for c in text)
