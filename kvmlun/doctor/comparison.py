"""Whether VMs can migrate between two hosts, as far as their facts tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..finding import Finding
from ..lun import Portal, parse_network
from .facts import Facts, Volume

_CLOCK_SECONDS = 1.0


def compare(here: Facts, there: Facts, asked: float, had: float) -> Iterator[Finding]:
    """Find what would go wrong with VMs that migrate from here to there, or back.

    `asked` and `had` are when the facts from there were, by this host's clock (Unix time).
    """
    yield from _hosts(here, there)
    yield from _clock(there, asked, had)
    yield from _versions(here, there)
    yield from _names(here, there)
    for one, other in ((here, there), (there, here)):
        yield from _catalog(one, other)
        yield from _arrivals(one, other)


def _hosts(here: Facts, there: Facts) -> Iterator[Finding]:
    if here.initiator == there.initiator:
        yield Finding(
            "initiator",
            f"both hosts have the initiator name {here.initiator}, so each login of one may end "
            "a session of the other",
            remedy="give each host a name of its own (/etc/iscsi/initiatorname.iscsi), let it in "
            "on the SAN, and systemctl restart iscsid",
        )
    if here.host_id == there.host_id:
        yield Finding(
            "host-id",
            "both hosts have the same machine-id and so the same keys for fenced LUNs: one was "
            "cloned from the other",
            remedy=f"on {there.name}, with no VM running: rm /etc/machine-id; "
            "systemd-machine-id-setup; reboot",
        )


def _clock(there: Facts, asked: float, had: float) -> Iterator[Finding]:
    early, late = asked - there.time, there.time - had
    if max(early, late) > _CLOCK_SECONDS:
        off = f"{early:.1f} s behind" if early > late else f"{late:.1f} s ahead of"
        yield Finding(
            "clock",
            f"the clock of {there.name} is at least {off} this host's, so since when which host "
            "holds a fenced LUN can't be told",
            remedy="have NTP on both (systemd-timesyncd, chrony)",
        )


def _versions(here: Facts, there: Facts) -> Iterator[Finding]:
    if (here.version, here.metadata) == (there.version, there.metadata):
        return
    refused = here.metadata != there.metadata
    yield Finding(
        "version",
        f"kvmlun is {here.version} here and {there.version} on {there.name}"
        + (", and one can't read what the other writes into a VM's metadata" if refused else ""),
        remedy="upgrade the older one",
    )


def _names(here: Facts, there: Facts) -> Iterator[Finding]:
    """A volume that both have has to be one LUN."""
    others = {volume.name: volume for volume in there.volumes}
    for volume in here.volumes:
        other = others.get(volume.name)
        if other and other.wwid != volume.wwid:
            yield Finding(
                "catalog",
                f"volume {volume.name} is {volume.wwid} on {here.name} and {other.wwid} on "
                f"{there.name}",
                remedy="give a name to one LUN only: kvmlun volume repin, or add it by another",
            )


def _catalog(one: Facts, other: Facts) -> Iterator[Finding]:
    """The catalog of one host has to be right, and what it needs has to be on the other."""
    if one.problems:
        yield Finding(
            "catalog",
            f"{one.name}: {one.problems[0]}",
            remedy="kvmlun check shows every mistake there",
        )
    by_wwid = {volume.wwid: volume for volume in other.volumes}
    for volume in one.volumes:
        theirs = by_wwid.get(volume.wwid)
        if theirs and volume.fencing and not theirs.fencing:
            yield Finding(
                "fencing",
                f"volume {volume.name} is fenced on {one.name} and not on {other.name}",
                remedy="set fencing alike on every host that may run its VM (docs/fencing.md)",
            )
        yield from _secret(volume, theirs, other)


def _secret(volume: Volume, theirs: Volume | None, other: Facts) -> Iterator[Finding]:
    """`theirs` is what the other host has of the same LUN."""
    wanted = theirs.secret if theirs else ""
    if volume.secret and not wanted:
        lacks = f"add volume {volume.name} with secret {volume.secret} to its /etc/kvmlun"
    elif wanted and wanted not in other.secrets:
        lacks = f"write /etc/kvmlun/secrets/{wanted}"
    else:
        return
    yield Finding(
        "secrets",
        f"{volume.target} ({volume.name}) needs CHAP, and {other.name} has no credentials for it",
        remedy=f"on {other.name}: {lacks} (docs/secrets.md)",
    )


def _arrivals(one: Facts, other: Facts) -> Iterator[Finding]:
    """What VMs of one host bring along in their metadata has to be let in on the other."""
    known = {volume.wwid for volume in other.volumes}
    pins = {(volume.target, volume.lun): volume for volume in other.volumes}
    for lun in one.used:
        if lun.wwid in known:
            continue
        vms = ", ".join(lun.domains)
        pinned = pins.get((lun.target, lun.lun))
        if pinned:
            yield Finding(
                "catalog",
                f"{lun.target} LUN {lun.lun} of {vms} is {lun.wwid} on {one.name}, and "
                f"pinned as {pinned.wwid} (volume {pinned.name}) on {other.name}",
                remedy=f"on {other.name}: kvmlun volume repin {pinned.name}, if that is old",
            )
        elif lun.portals and not any(_allowed(portal, other) for portal in lun.portals):
            yield Finding(
                "portals",
                f"{', '.join(lun.portals)} of {vms} is no portal that {other.name} may log in to",
                remedy=f"on {other.name}: add it to settings.portals in "
                "/etc/kvmlun/kvmlun.yaml, or the volume to the catalog",
            )


def _allowed(portal: str, facts: Facts) -> bool:
    if facts.portals is None:
        return True
    if any(portal in volume.portals for volume in facts.volumes):
        return True
    networks = map(parse_network, facts.portals)
    return any(Portal.parse(portal).is_in(network) for network in networks)
