"""A call in a child process: what comes back, and what is given up."""

import os
import time

import pytest

from kvmlun import apart, errors


def fail(kind):
    raise kind("no list")


def test_results_and_errors_come_back():
    assert apart.call("it", 10, divmod, 7, 2) == (3, 1)
    with pytest.raises(errors.NoAnswer, match="^no list$"):
        apart.call("it", 10, fail, errors.NoAnswer)


def test_a_child_that_dies_is_told():
    with pytest.raises(errors.Storage, match="it: its answer can't be read"):
        apart.call("it", 10, os._exit, 1)


def test_a_child_that_hangs_is_given_up():
    began = time.monotonic()
    with pytest.raises(errors.Timeout, match="it took longer than 0 s"):
        apart.call("it", 0.1, time.sleep, 60)
    assert time.monotonic() - began < 10


def test_who_waits_is_told_for_how_long(monkeypatch):
    monkeypatch.setattr(apart, "_TELL_SECONDS", 0.05)
    told = []
    apart.call("it", 10, time.sleep, 0.3, waits=lambda *what: told.append(what))
    assert len(told) >= 2 and told == sorted(told)
    assert {what for what, _ in told} == {"it"} and 0.05 <= told[0][1] < told[-1][1] < 10


def test_a_child_gets_only_so_much_memory():
    with pytest.raises(errors.Storage, match="it: its answer can't be read"):
        apart.call("it", 10, bytes, 1 << 30)
