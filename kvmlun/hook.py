"""The qemu hook's slow path: for domains with a disk that may be kvmlun's.

Standard library only. It never calls libvirt, and nothing it starts outlives
it. Its stderr is what ``virsh`` prints, so it is one line.
"""

from __future__ import annotations

import sys
import syslog
import time
from pathlib import Path

from . import domxml, errors, hookproto, ours

WWIDS = Path("/var/lib/kvmlun/wwids")
BYPASS = Path("/run/kvmlun/bypass")


def main(argv: list[str], xml: bytes) -> int:
    """Answer one hook call; `argv` is libvirt's: name, operation, sub-operation, extra."""
    name, operation, subop, extra = (argv + ["", "", "", ""])[:4]
    asked = operation in hookproto.ASKED
    if not asked and operation not in hookproto.TOLD:
        return 0
    header = hookproto.Header(
        v=hookproto.VERSION,
        op=operation,
        subop=subop,
        extra=extra,
        name=name,
        boottime=time.clock_gettime(time.CLOCK_BOOTTIME),
        deadline=hookproto.ASKED.get(operation, 0.0),
    )
    try:
        if asked:
            _ask(header, xml)
        else:
            hookproto.tell(header, xml)
    except (errors.Error, OSError, ValueError) as error:
        # A failing `started` or `reconnect` would kill a running guest.
        return _refuse(error) if asked else 0
    return 0


def _refuse(error: Exception) -> int:
    print(f"kvmlun: {errors.one_line(str(error))}", file=sys.stderr)
    return 1


def _ask(header: hookproto.Header, xml: bytes) -> None:
    """Raises errors.Error to refuse, OSError or ValueError where there is no answer."""
    domain = domxml.parse(xml)
    concerned = ours.concerns(domain, _catalog())
    if concerned is False or _bypassed(domain):
        return
    try:
        reply = hookproto.ask(header, xml)
    except TimeoutError:
        raise errors.Timeout(
            f"kvmlund did not answer within {header.deadline:.0f} s; see journalctl -u kvmlund"
        ) from None
    except OSError as error:
        raise errors.Unreachable(
            f"kvmlund does not answer ({error.strerror or error}); "
            "start it with: systemctl start kvmlund.socket kvmlund"
        ) from error
    if reply.get("ok") is not True:
        raise errors.Refused(str(reply.get("line") or "refused without a reason"))


def _catalog() -> frozenset[str] | None:
    try:
        return frozenset(WWIDS.read_text().split())
    except OSError:
        return None


def _bypassed(domain: domxml.Domain) -> bool:
    """Break-glass: an operator said that this VM is to start unchecked."""
    if not (domain.uuid and "/" not in domain.uuid and (BYPASS / domain.uuid).exists()):
        return False
    syslog.openlog("kvmlun-hook", facility=syslog.LOG_DAEMON)
    syslog.syslog(
        syslog.LOG_ALERT,
        f"domain {errors.one_line(domain.name)} starts WITHOUT kvmlun's checks: "
        f"{BYPASS}/{domain.uuid} exists",
    )
    return True
