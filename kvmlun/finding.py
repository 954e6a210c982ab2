"""What ``kvmlun doctor`` tells of a host: one value for each thing that is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What is wrong, why it matters, and what to do about it.

    `lines` are those of `file` that mend it, where there is a ready answer. One that is `unknown`
    is a check that could not be made, and the cause says why.
    """

    check: str
    cause: str
    file: str = ""
    lines: tuple[str, ...] = ()
    remedy: str = ""
    unknown: bool = False
