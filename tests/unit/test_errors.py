"""One line, whatever is in it."""

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


def test_an_error_is_not_longer_than_somebody_reads():
    assert str(errors.Error("ab" * 5000)) == "ab" * 1000 + "…"
