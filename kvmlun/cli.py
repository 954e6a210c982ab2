"""The ``kvmlun`` command: its arguments and what it prints."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, config, errors, reservation
from .client import Client
from .lun import Lun, LunAddress, Portal, Wwid
from .reservation import Registration

if TYPE_CHECKING:
    from .handsoff import Finding
    from .libiscsi import Initiator


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (errors.Exit)."""
    arguments = _parser().parse_args(argv)
    try:
        here = getattr(arguments, "here", None)
        print(here(arguments) if here else asyncio.run(_run(arguments)), end="")
    except errors.Error as error:
        print(f"kvmlun: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        sys.stderr.close()
    return errors.Exit.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kvmlun", description="iSCSI LUNs of libvirt VMs")
    parser.add_argument("--version", action="version", version=f"kvmlun {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    status = verbs.add_parser("status", help="show each LUN: device, sessions, VMs, state")
    _finish(status, _status)
    volume = verbs.add_parser("volume", help="show and change the catalog in /etc/kvmlun")
    nouns = volume.add_subparsers(required=True, metavar="COMMAND")
    _finish(nouns.add_parser("list", help="list all volumes"), _volume_list)
    show = nouns.add_parser("show", help="show one volume")
    show.add_argument("volume", metavar="VOLUME")
    _finish(show, _volume_show)
    offer = nouns.add_parser("discover", help="print what a SAN offers, as YAML to be pasted")
    offer.add_argument("portal", metavar="ADDRESS[:PORT]")
    _secret(offer)
    offer.set_defaults(here=_volume_discover)
    add = nouns.add_parser("add", help="write a file for a new volume")
    add.add_argument("volume", metavar="VOLUME")
    add.add_argument("--wwid", required=True, help="its identity, like naa.6001405…")
    add.add_argument("--target", required=True, help="the target's name, like iqn.…")
    add.add_argument("--lun", type=int, default=0, help="logical unit number (default: 0)")
    add.add_argument(
        "--portal", action="append", required=True, dest="portals", metavar="ADDRESS[:PORT]",
        help="where the target is; once for each portal",
    )  # fmt: skip
    add.add_argument(
        "--iface", action="append", dest="ifaces", metavar="NAME",
        help="an interface of open-iscsi to log in by; once for each (default: routing decides)",
    )  # fmt: skip
    add.add_argument(
        "--min-paths", type=int, metavar="N",
        help="paths that a VM's start waits for where multipathd runs (default: 1)",
    )  # fmt: skip
    add.add_argument(
        "--fencing", action=argparse.BooleanOptionalAction,
        help="let the storage refuse other hosts' writes (default: as settings.fencing)",
    )  # fmt: skip
    _secret(add)
    add.set_defaults(run=_volume_add)
    imported = nouns.add_parser("import-pools", help="add the LUNs of libvirt's iSCSI pools")
    _secret(imported)
    imported.set_defaults(run=_volume_import_pools)
    remove = nouns.add_parser("remove", help="remove the file of a volume that no VM has")
    remove.add_argument("volume", metavar="VOLUME")
    remove.set_defaults(run=_volume_remove)
    repin = nouns.add_parser("repin", help="take the LUN that is there now for the pinned one")
    repin.add_argument("what", metavar="VOLUME|BY-PATH-LINK")
    repin.add_argument("--yes", action="store_true", help="confirmed: do not ask")
    repin.set_defaults(run=_volume_repin)
    takeover = verbs.add_parser(
        "takeover", help="shut out the host that holds a VM's fenced LUNs, to start it here"
    )
    takeover.add_argument("vm", metavar="VM")
    either = takeover.add_mutually_exclusive_group()
    either.add_argument("--yes", action="store_true", help="confirmed: do not ask")
    either.add_argument(
        "--give-up", action="store_true", help="let go of what was taken over and not started"
    )
    takeover.set_defaults(run=_takeover)
    check = verbs.add_parser("check", help="look for mistakes in the files in /etc/kvmlun")
    check.add_argument("folder", nargs="?", type=Path, default=config.FOLDER, metavar="FOLDER")
    check.set_defaults(here=_check)
    doctor = verbs.add_parser(
        "doctor", help="look for what this host lacks to leave VMs' disks alone"
    )
    _finish(doctor, None)
    doctor.set_defaults(here=_doctor)
    disk = verbs.add_parser("disk-xml", help="print the <disk> element for a domain definition")
    disk.add_argument("volume", metavar="VOLUME")
    disk.add_argument("--target", default="vda", help="name in the guest (default: vda)")
    disk.set_defaults(run=_disk_xml)
    connect = verbs.add_parser("connect", help="bring a volume to this host; prints its link")
    connect.add_argument("volume", metavar="VOLUME")
    connect.add_argument(
        "--ttl", type=_seconds, default=0, metavar="SECONDS",
        help="let it go by itself after this time (default: at disconnect or reboot)",
    )  # fmt: skip
    _owned(connect, _connect)
    disconnect = verbs.add_parser("disconnect", help="let go of what connect brought")
    disconnect.add_argument("volume", metavar="VOLUME")
    _owned(disconnect, _disconnect)
    return parser


def _finish(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret", type=_name, metavar="NAME", help="the CHAP credentials in /etc/kvmlun/secrets"
    )


def _owned(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument(
        "--owner", default="operator", help="on whose behalf; each owner's connection counts"
    )
    parser.set_defaults(run=run)


def _name(text: str) -> str:
    if not re.fullmatch(config.NAME, text):
        raise argparse.ArgumentTypeError("a secret's name has letters, digits, '_', '.' and '-'")
    return text


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 0 <= seconds < 2**32:
        raise ValueError
    return seconds


async def _run(arguments: argparse.Namespace) -> str:
    async with Client() as client:
        return str(await arguments.run(client, arguments))


async def _status(client: Client, arguments: argparse.Namespace) -> str:
    status = await client.status()
    if arguments.json:
        return _json(status)
    luns = [
        {
            "VOLUME": lun["volume"] or "-",
            "WWID": lun["wwid"],
            "STATE": lun["state"],
            "DEVICE": lun["device"] or "-",
            "LINK": lun["link"].removeprefix("/dev/disk/by-id/") or "-",
            "SESSIONS": _sessions(lun, status["sessions"]),
            "FENCING": _fencing(lun["wwid"], status["reservations"]),
            "VMS": ", ".join(lun["domains"]) or "-",
        }
        for lun in status["luns"]
    ]
    text = _table(luns) if luns else "no LUNs\n"
    if status["config_problem"]:
        text += f"\n{status['config_problem']}; /etc/kvmlun is not in force as it is now: "
        text += "see kvmlun check, then systemctl reload kvmlund\n"
    for suspended in status["suspended"]:
        text += f"\nsuspended until the right LUN is back: {suspended}\n"
    for problem in status["fencing_problems"]:
        text += f"\n{problem}\n"
    if status["libvirt_problem"]:
        text += f"\n{status['libvirt_problem']}; nothing is logged out until it answers\n"
    return text


def _sessions(lun: dict[str, Any], sessions: list[dict[str, Any]]) -> str:
    ids = {int(path.rpartition("/")[2]) for path in lun["sessions"]}
    shown = [
        f"{s['id']} {s['portal']} {s['iface'] and s['iface'] + ' '}{s['state']}"
        f"{'' if s['owned'] else ' (borrowed)'}"
        for s in sessions
        if s["id"] in ids
    ]
    return ", ".join(shown) or "-"


def _fencing(wwid: str, reservations: list[dict[str, Any]]) -> str:
    """Say who holds a LUN, who else may write, and what its target can do."""
    found = next((each for each in reservations if each["wwid"] == wwid), None)
    if found is None:
        return "-"
    if not found["registrants"]:
        return f"{'nobody holds it' if found['fencing'] else 'off'} (target: {found['can']})"
    who = "this host" if found["here"] else found["holder"] or "nobody"
    others = {each["initiator"] for each in found["registrants"]} - {found["holder"]}
    beside = f", beside {', '.join(sorted(others))}" if others else ""
    return f"{who}{beside} (target: {found['can']})"


async def _takeover(client: Client, arguments: argparse.Namespace) -> str:
    if arguments.give_up:
        await client.give_up(arguments.vm)
        return ""
    holdings = await client.compare_holders(arguments.vm)
    told = "".join(f"{_holding(each)}\n" for each in holdings)
    rivals = {each["wwid"]: [r["key"] for r in each["registrants"]] for each in holdings}
    if not any(rivals.values()):
        return f"{told}nobody has to be shut out: virsh start {arguments.vm}\n"
    _confirm(
        told,
        "What that host still writes will fail, also if it is alive. "
        "Whatever its VM had not written yet is lost.",
        arguments.yes,
    )
    lines = await client.take_over(arguments.vm, rivals)
    lines.append(f"this host alone may write now: virsh start {arguments.vm}")
    return "".join(f"{line}\n" for line in lines)


def _holding(made: dict[str, Any]) -> str:
    told = [
        f"{Registration(int(each['key'], 16), each['initiator'], '').text} "
        f"{'holds it' if each['key'] == made['holder_key'] else 'is registered, so may write,'} "
        f"since {reservation.local_time(int(each['key'], 16))}"
        for each in made["registrants"]
    ]
    others = "; ".join(dict.fromkeys(told)) or "no other host has it"
    return f"{made['name']} ({made['wwid']}): {others}"


def _confirm(told: str, consequence: str, confirmed: bool) -> None:
    """Show what would be done, and have it confirmed; raises errors.Refused if it is not."""
    if confirmed:
        return
    print(told, end="", file=sys.stderr)
    if not sys.stdin.isatty():
        raise errors.Refused("nothing was changed; --yes confirms")
    print(f"{consequence} Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise errors.Refused("nothing was changed")


async def _volume_list(client: Client, arguments: argparse.Namespace) -> str:
    volumes = await client.volumes()
    if arguments.json:
        return _json(volumes)
    rows = [
        {
            "VOLUME": volume["name"],
            "WWID": volume["wwid"],
            "TARGET": volume["target"],
            "LUN": str(volume["lun"]),
            "PORTALS": ", ".join(volume["portals"]),
        }
        for volume in volumes
    ]
    return _table(rows) if rows else "no volumes in /etc/kvmlun\n"


async def _volume_show(client: Client, arguments: argparse.Namespace) -> str:
    volume = await client.volume(arguments.volume)
    if arguments.json:
        return _json(volume)
    return "".join(
        f"{key + ':':11}{', '.join(value) if isinstance(value, list) else value}\n"
        for key, value in volume.items()
    )


async def _volume_add(client: Client, arguments: argparse.Namespace) -> str:
    keys = ("wwid", "target", "lun", "portals", "ifaces", "min_paths", "fencing", "secret")
    given = {key: value for key in keys if (value := getattr(arguments, key)) is not None}
    await client.add_volume(arguments.volume, given)
    return ""


async def _volume_import_pools(client: Client, arguments: argparse.Namespace) -> str:
    """Add a volume for each LUN of each pool; one that can't be added keeps none of the others."""
    from . import discover, pools

    told = []
    initiator = _initiator(arguments.secret or "")
    secret = {"secret": arguments.secret} if arguments.secret else {}
    for pool in pools.pools():
        for made in discover.of_pool(initiator, pool, config.read()[0]):
            problem = made.problem
            if not problem:
                try:
                    await client.add_volume(made.name, {**made.volume, **secret})
                except errors.Error as error:
                    problem = f"{made.name}: {error}"
            told.append(problem or f"{made.name}: {made.volume['wwid']}, added")
    return "".join(f"{errors.one_line(line)}\n" for line in told) or "no iSCSI pools\n"


async def _volume_remove(client: Client, arguments: argparse.Namespace) -> str:
    await client.remove_volume(arguments.volume)
    return ""


async def _volume_repin(client: Client, arguments: argparse.Namespace) -> str:
    made = await client.compare_pin(arguments.what)
    name = f"volume {made['volume']}, {made['address']}" if made["volume"] else made["address"]
    pinned, found = ", ".join(made["pinned"]) or "nothing", made["found"]
    if made["pinned"] == [found]:
        return f"{name} is {found}, as pinned\n"
    told = f"{name}\n  pinned:    {pinned}\n  there now: {found}, {made['size'] / 2**30:.4g} GiB\n"
    _confirm(told, f"VMs will use it in place of {pinned}.", arguments.yes)
    made = await client.repin(arguments.what, found)
    lines = [f"{name} is {found} from now on"]
    lines += [f"{domain}: pinned anew" for domain in made["domains"]]
    lines += [
        f"{domain}: its definition names {link}; virsh edit {domain} if that disk is meant"
        for domain, link in made["links"]
    ]
    return "".join(f"{line}\n" for line in lines)


def _volume_discover(arguments: argparse.Namespace) -> str:
    from . import discover

    portal = Portal.parse(arguments.portal)
    secret = arguments.secret or ""
    return discover.discover(_initiator(secret), portal, config.read()[0], secret)


def _initiator(secret: str) -> Initiator:
    from . import libiscsi

    return libiscsi.Initiator.of_host(secret)


def _check(arguments: argparse.Namespace) -> str:
    """Say every mistake on a line of its own; the last one as the error that ends the command."""
    if not arguments.folder.is_dir():
        raise errors.Config(f"{arguments.folder}: is no folder")
    found, problems = config.read(arguments.folder)
    for file in sorted((arguments.folder / "volumes.d").glob("*.yml")):
        problems.append(errors.Config(f"{file}: is not read; name it {file.stem}.yaml"))
    if arguments.folder == config.FOLDER:
        problems += [p for lun in found.volumes.values() for p in _missing(lun)]
    for problem in problems[:-1]:
        print(f"kvmlun: {problem}", file=sys.stderr)
    if problems:
        raise problems[-1]
    return f"{len(found.volumes)} volumes, no mistake\n"


def _missing(volume: Lun) -> Iterator[errors.Config]:
    """Yield what a volume names that this host has not, or not as it has to be."""
    from . import nodedb, secrets

    try:
        # One that has no file may be a systemd credential, which only kvmlund can see.
        if volume.secret and os.path.lexists(secrets.FOLDER / volume.secret):
            secrets.load(volume.secret)
    except errors.Config as problem:
        yield problem
    try:
        for iface in volume.ifaces:
            nodedb.binding(iface)
    except errors.Storage as problem:
        yield errors.Config(f"volume {volume.volume}: {problem}")


def _doctor(arguments: argparse.Namespace) -> str:
    """Print what is found, with its remedy; how much it is as the error that ends the command."""
    from . import doctor

    findings = asyncio.run(doctor.examine())
    if arguments.json:
        text = _json([dataclasses.asdict(finding) for finding in findings])
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


async def _disk_xml(client: Client, arguments: argparse.Namespace) -> str:
    """Print it with what the LUN says of itself, which only root can ask it."""
    from . import domxml

    volume = await client.volume(arguments.volume)
    lun = Lun(
        Wwid.parse(volume["wwid"]),
        LunAddress(volume["target"], volume["lun"]),
        tuple(Portal.parse(text) for text in volume["portals"]),
    )
    assert lun.wwid
    try:
        sectors = _initiator(volume["secret"]).sectors(lun)
    except errors.Error as problem:
        print(f"kvmlun: block size not known: {problem}", file=sys.stderr)
        sectors = None
    return domxml.disk_xml(lun.wwid.link, arguments.target, sectors, explain=True)


async def _connect(client: Client, arguments: argparse.Namespace) -> str:
    link = await client.connect_volume(arguments.volume, arguments.owner, arguments.ttl)
    return f"{link}\n"


async def _disconnect(client: Client, arguments: argparse.Namespace) -> str:
    await client.disconnect_volume(arguments.volume, arguments.owner)
    return ""


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _table(rows: list[dict[str, str]]) -> str:
    lines = [{key: key for key in rows[0]}]
    lines += [{key: errors.printable(text) for key, text in row.items()} for row in rows]
    widths = {key: max(len(line[key]) for line in lines) for key in rows[0]}
    return "".join(
        "  ".join(line[key].ljust(width) for key, width in widths.items()).rstrip() + "\n"
        for line in lines
    )
