"""Tables and what a terminal lets them be."""

import io
import os

import pytest

from kvmlun.cli import looks, render
from kvmlun.cli.looks import Looks

ROWS = [
    {"VOLUME": "vm1-0", "WWID": "naa.60014051111111111111111111111111", "STATE": "in-use"},
    {"VOLUME": "a", "WWID": "naa.60014052222222222222222222222222", "STATE": "down"},
]


def test_in_a_pipe_nothing_is_cut_or_coloured():
    table = render.table(ROWS)
    assert table.splitlines() == [
        "VOLUME  WWID                                  STATE",
        "vm1-0   naa.60014051111111111111111111111111  in-use",
        "a       naa.60014052222222222222222222222222  down",
    ]


@pytest.mark.parametrize("width", [30, 40, 52])
def test_at_a_terminal_a_line_fits_and_columns_stay_in_line(width):
    lines = render.table(ROWS, Looks(width=width)).splitlines()
    assert max(map(len, lines)) <= width
    states = zip(lines, ("STATE", "in-", "down"), strict=True)
    assert len({line.index(state) for line, state in states}) == 1
    assert ("…" in lines[1]) == (width < 52)


def test_both_ends_of_a_name_are_kept():
    assert render.shorten("naa.60014051111111111111111111111119", 12) == "naa.6…111119"
    assert render.shorten("short", 5) == "short"
    assert [len(render.shorten("longer", width)) for width in (0, 1, 2, 3)] == [0, 1, 2, 3]


def test_colours_are_around_what_is_already_in_line():
    plain, coloured = render.table(ROWS), render.table(ROWS, Looks(colours=True))
    assert "\x1b[32min-use\x1b[0m\n" in coloured and "\x1b[31mdown\x1b[0m\n" in coloured
    for code in ("\x1b[32m", "\x1b[31m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_what_a_terminal_may_take_for_a_command_is_not_printed():
    assert "\x1b" not in render.table([{"VOLUME": "\x1b[31mred"}])


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True

    def fileno(self):
        return -1


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    return Terminal()


def test_a_terminal_has_colours_a_width_and_a_cursor(terminal):
    assert looks.of(terminal, {"TERM": "xterm"}) == Looks(True, 80, 24, True)


@pytest.mark.parametrize(
    ("environ", "colours", "moves"),
    [
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),  # no-color.org: when not empty
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_who_wants_no_colours_gets_none(terminal, environ, colours, moves):
    found = looks.of(terminal, environ)
    assert (found.colours, found.moves, found.width) == (colours, moves, 80)


def test_columns_is_the_width_where_a_stream_has_none_itself(terminal, monkeypatch):
    """As watch(1) sets it, whose command writes to a pipe."""
    told = {"COLUMNS": "100", "TERM": "xterm"}
    assert looks.of(io.StringIO(), told) == Looks(width=100, lines=False)
    assert looks.of(terminal, told).width == 80
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    assert looks.of(terminal, told).width == 100
    assert looks.of(io.StringIO(), {"COLUMNS": "wide"}).width is None


def test_a_stream_that_is_closed_has_nothing():
    assert looks.of(None) == looks.PLAIN


def test_a_pipe_has_none_of_it_and_a_console_without_a_size_no_width(terminal, monkeypatch):
    assert looks.of(io.StringIO(), {"TERM": "xterm"}) == Looks(lines=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    assert looks.of(terminal, {"TERM": "vt220"}).width is None
