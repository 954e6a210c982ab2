"""``python3 -m tests.fuzz``: the fuzzing campaign."""

import argparse
import sys

from tests.fuzz import campaign
from tests.fuzz.parsers import PARSERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=campaign.__doc__)
    parser.add_argument(
        "parsers", nargs="*", metavar="PARSER", help=f"one of {', '.join(PARSERS)} (default: all)"
    )
    parser.add_argument("--runs", type=int, default=campaign.RUNS, help="cases for each parser")
    parser.add_argument("--since", default="", metavar="COMMIT", help="older results that count")
    arguments = parser.parse_args()
    if unknown := set(arguments.parsers) - set(PARSERS):
        parser.error(f"no parser {', '.join(sorted(unknown))}")
    return campaign.main(arguments.parsers or list(PARSERS), arguments.runs, arguments.since)


sys.exit(main())
