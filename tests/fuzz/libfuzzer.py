"""One parser under libFuzzer (atheris), in a process of its own: found coverage guides the inputs.

Run by campaign.py with the virtual environment's interpreter, as ``libfuzzer.py PARSER OPTION…``.
"""

import logging
import random
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["kvmlun"]):
    from tests.fuzz import parsers, seeds


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Every other time put a hostile text at or behind a value; else libFuzzer's own mutation."""
    draw = random.Random(seed)
    found = seeds.places(data) if draw.random() < 0.5 else ()
    if not found:
        return bytes(atheris.Mutate(data, longest))
    begin, end = draw.choice(found)
    begin = draw.choice((begin, end))
    return (data[:begin] + draw.choice(seeds.HOSTILE) + data[end:])[:longest]


def main() -> None:
    logging.disable(logging.CRITICAL)
    check = parsers.PARSERS[sys.argv[1]].check
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        with parsers.place(folder):
            arguments = [sys.argv[0], *sys.argv[2:]]
            atheris.Setup(arguments, lambda data: check(data, folder), custom_mutator=mutate)
            atheris.Fuzz()


main()
