"""Real hosts and a real SAN as processes: user-mode Linux in a network namespace of its own."""

from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.remote import CommandFailed, CommandTimedOut, Result, Spawned
from tests.lab.san import San, Session, Volume
from tests.lab.spec import Host
from tests.lab.wait import TimedOut, wait_for

__all__ = [
    "CommandFailed",
    "CommandTimedOut",
    "Host",
    "Lab",
    "LabError",
    "Machine",
    "Result",
    "San",
    "Session",
    "Spawned",
    "TimedOut",
    "Volume",
    "wait_for",
]
