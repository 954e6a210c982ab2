"""YAML that an editor, or somebody hostile, made: refused with its line, and at once."""

from pathlib import Path

import pytest

from kvmlun import errors, yamlfile

FILE = Path("/etc/kvmlun/kvmlun.yaml")


def refusal(text):
    with pytest.raises(errors.Config) as refused:
        yamlfile.parse(text, FILE)
    return str(refused.value)


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "!!int ''", "!!float ''", "!!bool x", "2001-02-30"]
)
def test_a_value_that_yaml_itself_breaks_at_is_refused_with_its_line(value):
    assert refusal(f"a: 1\nb: {value}\n").startswith(f"{FILE}:2: b: ")


def test_a_key_is_text():
    assert refusal("? [a, b]\n: c\n").startswith(f"{FILE}:1: ")


def test_what_no_yaml_may_have_is_refused():
    assert str(FILE) in refusal("a: \0\n")


def test_aliases_that_mean_a_file_without_end_are_refused():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 20)
    )
    assert refusal(bomb).startswith(f"{FILE}:")
    assert str(FILE) in refusal("&a [*a]")
    assert str(FILE) in refusal("[" * 10000)
    nested = yamlfile.parse("portals: &san [10.0.0.1]\nothers: *san\n", FILE).plain()
    assert nested == {"portals": ["10.0.0.1"], "others": ["10.0.0.1"]}


def test_a_long_key_leaves_room_for_what_is_wrong():
    assert refusal(f"{'x' * 1000}: 1\n" * 2).endswith("is given twice")
