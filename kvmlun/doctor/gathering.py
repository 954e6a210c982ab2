"""Gathers this host's facts, and asks another host for its own by the system's ssh."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from .. import __version__, commands, config, domxml, errors, keys, loginprobe, secrets
from ..client import Client
from .facts import Facts, Used, Volume, parse

# Where systemd puts what kvmlund's unit loads (systemd.exec(5), LoadCredential=).
_CREDENTIALS = Path("/run/credentials/kvmlund.service")
_SECONDS = 60
_CONNECT_SECONDS = 10
# ssh's own failure (ssh(1)); a command that the shell does not find; argparse's.
_NO_SSH, _NOT_THERE, _USAGE = 255, 127, errors.Exit.USAGE


async def here() -> Facts:
    """Raises errors.Storage where something can't be read, errors.Unreachable without kvmlund."""
    found, problems = config.read()
    async with Client() as client:
        luns = (await client.status(reservations=False))["luns"]
    allowed = found.settings.portals
    return Facts(
        name=socket.gethostname(),
        version=__version__,
        metadata=domxml.VERSION,
        initiator=loginprobe.initiator(),
        host_id=f"0x{keys.host_id():08x}",
        problems=tuple(str(problem) for problem in problems),
        portals=None if allowed is None else tuple(str(network) for network in allowed),
        volumes=tuple(
            Volume(
                name=lun.volume or "",
                wwid=str(lun.wwid),
                target=lun.address.target,
                lun=lun.address.lun,
                portals=lun.addresses,
                secret=lun.secret or "",
                fencing=found.fences(lun.wwid, None),
            )
            for lun in found.volumes.values()
        ),
        used=tuple(
            Used(
                wwid=lun["wwid"],
                target=lun["target"],
                lun=lun["lun"],
                portals=tuple(lun["portals"]),
                domains=tuple(lun["domains"]),
            )
            for lun in luns
            if lun["domains"]
        ),
        secrets=secret_names(),
        # Last, as the other host knows when it asked and when it was answered.
        time=time.time(),
    )


def secret_names(
    folder: Path = secrets.FOLDER, credentials: Path = _CREDENTIALS
) -> tuple[str, ...]:
    """Return the names of the CHAP credentials that kvmlund has here; raises errors.Storage."""
    prefix = secrets.CREDENTIAL.format(name="")
    try:
        files = [path.name for path in folder.iterdir()] if folder.exists() else []
        if credentials.exists():
            given = (path.name for path in credentials.iterdir())
            files += [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    except OSError as error:
        raise errors.Storage(f"can't read the names of secrets: {error}") from error
    return tuple(sorted(set(files)))


@dataclass(frozen=True)
class Answer:
    """Another host's facts, asked and had at these moments of this host's clock (Unix time).

    None where its kvmlun can't tell them, and `lacks` says why.
    """

    facts: Facts | None
    asked: float = 0
    had: float = 0
    lacks: str = ""


async def there(host: str) -> Answer:
    """Raises errors.Storage where the host can't be asked, errors.Invalid for no facts.

    Without a question at the terminal: libvirt answers none when it migrates by ssh, either.
    """
    argv = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"]
    argv += ["--", host, "kvmlun", "doctor", "--facts"]
    agent = {name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK") if name in os.environ}
    asked = time.time()
    result = await commands.run(argv, _SECONDS, agent)
    had = time.time()
    if result.code == _NO_SSH:
        raise errors.Storage(f"ssh {host}: {result.err or 'failed'}")
    if result.code == _NOT_THERE:
        return Answer(None, lacks="is not installed there")
    if result.code == _USAGE:
        return Answer(None, lacks="is too old there to be compared with")
    if result.code != 0:
        raise errors.Storage(f"{host}: {result.err or f'exit code {result.code}'}")
    return Answer(parse(result.out), asked, had)
