"""A LUN's persistent reservation as LIO itself shows it, whatever the initiators believe."""

import dataclasses
import re
import shlex
from collections.abc import Sequence

from tests.lab import machine, san, wait

CORE = "/sys/kernel/config/target/core"
SECONDS = 30
# target_core_configfs.c: target_pr_res_holder_show(), target_pr_res_pr_registered_i_pts_show()
_HOLDER = re.compile(r"^SPC-3 Reservation: iSCSI Initiator: (\S+),i,0x([0-9a-f]{12})", re.M)
_TYPE = re.compile(r"^SPC-3 Reservation Type: (.+)", re.M)
_REGISTRANT = re.compile(
    r"^iSCSI Node: (\S+),i,0x([0-9a-f]{12}) Key: 0x([0-9a-f]{16}) PRgen: ", re.M
)


@dataclasses.dataclass(frozen=True)
class Registrant:
    """Of one session; its target port is not told."""

    initiator: str
    isid: str
    key: int


@dataclasses.dataclass(frozen=True)
class Reservation:
    """`type` is LIO's text; `kept` means that it outlives the target's restart (APTPL)."""

    holder: Registrant | None
    type: str
    registrants: tuple[Registrant, ...]
    kept: bool

    @property
    def initiators(self) -> list[str]:
        return sorted({registrant.initiator for registrant in self.registrants})


def look(storage: san.San, volume: san.Volume) -> Reservation:
    found = f"dirname $(grep -lFx {shlex.quote(volume.path)} {CORE}/*/*/udev_path)"
    files = "res_holder res_pr_type res_aptpl_active res_pr_registered_i_pts"
    return parse(storage.host.run(f"cd $({found})/pr && cat {files}").out)


def parse(text: str) -> Reservation:
    registrants = [Registrant(m[1], m[2], int(m[3], 16)) for m in _REGISTRANT.finditer(text)]
    held, kind = _HOLDER.search(text), _TYPE.search(text)
    return Reservation(
        holder=next(
            (r for r in registrants if held and (r.initiator, r.isid) == held.groups()), None
        ),
        type=kind[1] if kind else "",
        registrants=tuple(registrants),
        kept="APTPL Bit Status: Activated" in text,
    )


def wait_holder(storage: san.San, volume: san.Volume, host: machine.Machine) -> Reservation:
    """Wait until this host holds the LUN's reservation, and nobody else may write."""

    def held() -> list[Reservation]:
        found = look(storage, volume)
        return [found] if found.holder and found.initiators == [host.initiator] else []

    (found,) = wait.wait_for(f"{host.name} as the only holder", held, SECONDS)
    return found


def left(storage: san.San, hosts: Sequence[machine.Machine]) -> list[str]:
    """Return one line for each registration of these hosts with any LUN, and its backstore."""
    line = f"grep -H ^iSCSI {CORE}/*/*/pr/res_pr_registered_i_pts"
    lines = storage.host.run(line, check=False).out.splitlines()
    return [found for found in lines if any(f" {host.initiator}," in found for host in hosts)]
