"""``kvmlun doctor``: what this host lacks, and how it differs from another one."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import errors
from . import arguments, progress, render

if TYPE_CHECKING:
    from ..finding import Finding


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser(
        "doctor", help="look for what this host lacks, and say what to do about it"
    )
    arguments.json_option(parser)
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--host", type=_host, metavar="HOST",
        help="compare this host with another one instead, by ssh, before VMs migrate there",
    )  # fmt: skip
    either.add_argument(
        "--facts", action="store_true", help="print as JSON what another host's --host compares"
    )
    parser.set_defaults(here=_doctor)


def _host(text: str) -> str:
    if not text or text.startswith("-"):
        raise argparse.ArgumentTypeError("a host's name as ssh knows it is expected")
    return text


def _doctor(given: argparse.Namespace) -> str:
    """Print what is found; how much it is as the error that ends the command."""
    from ..doctor import facts, gathering

    if os.geteuid() != 0:
        raise errors.Unsure("only root can look at all this")
    if given.facts:
        return facts.as_json(asyncio.run(gathering.here()))
    findings = asyncio.run(_found(given.host))
    if given.json:
        text = render.as_json([dataclasses.asdict(finding) for finding in findings])
    else:
        text = "".join(_told(finding) for finding in findings) or "nothing found\n"
    if not findings:
        return text
    print(text, end="")
    raise _end(findings)


async def _found(host: str | None) -> list[Finding]:
    from .. import doctor

    since = int(time.time())
    async with progress.drawn(progress.Line()) as line:

        def waits(step: str) -> None:
            line.tell({"step": step, "since": since} if step else None)

        return await (doctor.compare(host, waits) if host else doctor.examine(waits))


def _told(finding: Finding) -> str:
    not_known = "not known: " if finding.unknown else ""
    cause, remedy = map(errors.printable, (finding.cause, finding.remedy))
    colon = ":" if finding.lines else ""
    lines = "".join(f"    {line}\n" for line in finding.lines)
    return f"{finding.check}: {not_known}{cause}\n  {remedy}{colon}\n{lines}"


def _end(findings: Sequence[Finding]) -> errors.Error:
    unknown = sum(finding.unknown for finding in findings)
    if unknown == len(findings):
        return errors.Unsure(f"{unknown} could not be looked at")
    more = f", {unknown} could not be looked at" if unknown else ""
    return errors.Found(f"{len(findings) - unknown} to be mended{more}")
