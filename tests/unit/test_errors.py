"""The text of an error: one line that can be printed and has an end."""

import pytest

from kvmlun import errors


@pytest.mark.parametrize(
    "text, line",
    [
        ("a\nb\r\n\tc ", "a b c"),
        ("\x1b[31mred\x07\0\x9b", "[31mred"),
        ("right \u202eto left\u2028", "right to left"),
        ("vm \udcff ä", "vm ä"),
    ],
)
def test_an_error_is_one_line_that_can_be_printed(text, line):
    assert str(errors.Error(text)) == line


@pytest.mark.parametrize("text", ["a\nb\0c\x1b[2J\u202e\ud800d", "x" * 10**6, "a b " * 10**5])
def test_an_error_is_one_short_line(text):
    told = str(errors.Refused(f"begin {text} end"))
    assert told.isprintable() and told.startswith("begin ") and told.endswith(" end")
    assert len(told) <= errors.LONGEST and told.encode()
