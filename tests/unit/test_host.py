"""kvmlun host: what it prints and how it ends, for who is left and who goes meanwhile."""

import argparse
import asyncio
import math

import pytest

from kvmlun import cli, errors
from kvmlun.cli import host


class Host:
    """A client; `left` is who is left each time it is asked, or an error, and stays the last one.

    None is a daemon that is away, and not to be asked.
    """

    def __init__(self, *left, resumed=False):
        self.left, self.resumed, self.drained = list(left), resumed, False

    async def listen(self, heard):
        pass

    @property
    def is_served(self):
        return self.left[0] is not None or bool(self.left.pop(0))

    async def drain(self):
        self.drained = True

    async def drained_since(self):
        return 0 if self.resumed else 10**9

    async def holders(self):
        left = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(left, errors.Error):
            raise left
        return left


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(host, "_POLL_SECONDS", 0)


def drain(client, *options):
    given = parsed("drain", *options)
    return asyncio.run(given.run(client, given))


def parsed(*words) -> argparse.Namespace:
    return cli.parser().parse_args(["host", *words])


def test_nobody_is_left(capsys):
    client = Host([])
    assert drain(client) == "nobody is left\n" and client.drained
    assert drain(Host([]), "--json") == "[]\n"
    assert capsys.readouterr() == ("", "")


def test_who_is_left_is_printed_and_ends_it_with_an_error(capsys):
    with pytest.raises(errors.Left) as ended:
        drain(Host(["connected by operator", "vm\n1"]))
    assert ended.value.code == 9 and "named above (2)" in str(ended.value)
    assert capsys.readouterr() == ("connected by operator\nvm 1\n", "")


def test_who_waits_is_told_of_every_change_until_nobody_is_left(capsys):
    client = Host(["vm1", "vm2"], ["vm1", "vm2"], ["vm2"], [])
    assert drain(client, "--wait") == "nobody is left\n"
    told = capsys.readouterr().err
    assert told == "kvmlun: waiting for vm1, vm2\nkvmlun: waiting for vm2\n"


def test_a_restart_of_kvmlund_does_not_end_the_wait(capsys):
    """Nobody is taken for gone before the new one has heard who is here."""
    died = errors.Unreachable("kvmlund does not answer")
    unasked = errors.Storage("nobody knows which VMs run here")
    client = Host(["vm1"], died, None, unasked, unasked, ["vm1"], [])
    assert drain(client, "--wait") == "nobody is left\n"
    assert capsys.readouterr().err.splitlines() == [
        "kvmlun: waiting for vm1",
        "kvmlun: waiting: kvmlund does not answer",
        "kvmlun: waiting: kvmlund does not run",
        "kvmlun: waiting: nobody knows which VMs run here",
        "kvmlun: waiting for vm1",
    ]
    with pytest.raises(errors.Storage):
        drain(Host(unasked), "--wait", "0")


def test_waiting_ends_with_its_time():
    assert parsed("drain").wait == 0 and parsed("drain", "--wait").wait == math.inf
    with pytest.raises(errors.Left):
        drain(Host(["vm1"]), "--wait", "0")


def test_waiting_ends_when_the_host_is_resumed_meanwhile():
    with pytest.raises(errors.Refused):
        drain(Host(["vm1"], resumed=True), "--wait")
