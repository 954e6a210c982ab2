"""A few hundred cases for each parser, the same ones each time; python3 -m tests.fuzz has more."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import parsers, seeds, structure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("fuzz")
    with parsers.place(found):
        yield found


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_each_hostile_text_at_each_place_of_good_inputs(folder, name):
    check = parsers.PARSERS[name].check
    for data in (*seeds.SEEDS[name], *seeds.HOSTILE, b""):
        check(data, folder)
    # PyYAML takes a hundredth of a second for the others.
    hostile_ones = [text for text in seeds.HOSTILE if name != "yaml" or len(text) < 500]
    for good in seeds.SEEDS[name]:
        for begin, end in seeds.places(good):
            for hostile in hostile_ones:
                check(good[:begin] + hostile + good[end:], folder)
                check(good[:end] + hostile + good[end:], folder)


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_anything(folder, name):
    check = parsers.PARSERS[name].check
    inputs = structure.pieces(name) | structure.STRUCTURED.get(name, st.binary())

    @settings(
        derandomize=True, database=None, deadline=None, max_examples=60,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs)
    def holds(data):
        check(data, folder)

    holds()
