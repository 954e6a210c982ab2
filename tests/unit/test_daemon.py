"""What kvmlund writes to the journal."""

import logging

from kvmlun import daemon


def logged(message, *args, exc_info=None):
    record = logging.LogRecord("kvmlun.x", logging.WARNING, "", 1, message, args, exc_info)
    return daemon.Printable("%(name)s: %(message)s").format(record)


def test_a_name_from_outside_makes_no_second_line():
    name = "vm\nkvmlun.login: logged in\x1b[2J\u202e"
    assert logged("%s: refused", name) == "kvmlun.x: vm kvmlun.login: logged in [2J : refused"


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        lines = logged("failed", exc_info=(ValueError, error, error.__traceback__)).splitlines()
    assert lines[:2] == ["kvmlun.x: failed", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError:  [2J"
