"""``kvmlun doctor``: what this host lacks."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from typing import TYPE_CHECKING

from .. import errors
from . import arguments, render

if TYPE_CHECKING:
    from ..handsoff import Finding


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser(
        "doctor", help="look for what this host lacks to leave VMs' disks alone"
    )
    arguments.json_option(parser)
    parser.set_defaults(here=_doctor)


def _doctor(given: argparse.Namespace) -> str:
    """Print what is found, with its remedy; how much it is as the error that ends the command."""
    from .. import doctor

    findings = asyncio.run(doctor.examine())
    if given.json:
        text = render.as_json([dataclasses.asdict(finding) for finding in findings])
    else:
        text = "".join(_told(finding) for finding in findings) or "nothing found\n"
    if not findings:
        return text
    print(text, end="")
    raise errors.Found(f"{len(findings)} to be mended")


def _told(finding: Finding) -> str:
    remedy = "".join(f"    {line}\n" for line in finding.lines)
    where = f"  put into {finding.file}, in place of what it says of this now:\n" if remedy else ""
    return f"{finding.check}: {finding.cause}\n{where}{remedy}"
