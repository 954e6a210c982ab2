"""The text of an error: one line that can be printed and has an end."""

import pytest

from kvmlun import errors


@pytest.mark.parametrize("text", ["a\nb\0c\x1b[2J\u202e\ud800d", "x" * 10**6, "a b " * 10**5])
def test_an_error_is_one_short_line(text):
    told = str(errors.Refused(f"begin {text} end"))
    assert told.isprintable() and told.startswith("begin ") and told.endswith(" end")
    assert len(told) <= errors.LONGEST and told.encode()
