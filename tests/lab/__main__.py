import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab import campaign, commands, demo, errors, images, lab, preflight, rows, spec

log = logging.getLogger("kvmlun.lab")

POWER = ("freeze", "thaw", "kill", "start", "reboot", "poweroff")


class Progress(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{record.relativeCreated / 1000:6.1f}] {record.getMessage()}"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab", description="Real hosts and a SAN, as processes"
    )
    parser.add_argument("--lab", default="kvmlun", metavar="NAME")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("setup", help="install the Debian packages that the lab needs")
    up = verbs.add_parser("up", help="boot the hosts and leave them running")
    up.add_argument(
        "--hosts",
        nargs="+",
        type=spec.Host.parse,
        default=list(spec.DEFAULT_HOSTS),
        metavar="NAME[=SUITE]",
        help=f"default: {' '.join(host.name for host in spec.DEFAULT_HOSTS)}",
    )
    verbs.add_parser("demo", help="show kvmlun's main job, step by step")
    verbs.add_parser("test", help="all rows, on one lab")
    long = verbs.add_parser("campaign", help="all rows, longer, for kvmlun and for the naive hook")
    long.add_argument("--since", default="", metavar="COMMIT", help="count what passed since then")
    long.add_argument("--only", default="", metavar="EXPR", help="run these rows (pytest -k)")
    verbs.add_parser("status", help="say what is up")
    ssh = verbs.add_parser("ssh", help="a shell or a command on a host")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    for verb in ("cut", "restore"):
        link = verbs.add_parser(verb, help=f"{verb} a host's link to a network")
        link.add_argument("host")
        link.add_argument("network", choices=[net.name for net in spec.NETWORKS])
    for verb in POWER:
        verbs.add_parser(verb, help=f"{verb} a host").add_argument("host")
    collect = verbs.add_parser("collect", help="write journals and consoles to a folder")
    collect.add_argument("folder", type=Path)
    verbs.add_parser("down", help="remove everything, also what a killed run left")
    return parser.parse_args(words)


def act(args: argparse.Namespace) -> int:
    if args.verb == "setup":
        preflight.setup()
        return 0
    preflight.check()
    match args.verb:
        case "demo":
            return demo.main(args.lab)
        case "test":
            return rows.main(args.lab)
        case "campaign":
            return campaign.main(args.lab, args.since, args.only)
        case "up":
            lab.Lab(args.lab, args.hosts).up()
        case "down":
            images.clean_up_abandoned()
            lab.Lab(args.lab).down()
        case "status":
            status(lab.Lab.attach(args.lab))
        case "ssh":
            shell(lab.Lab.attach(args.lab), args.host, args.command)
        case "collect":
            lab.Lab.attach(args.lab).collect(args.folder)
        case "cut" | "restore":
            host = lab.Lab.attach(args.lab)[args.host]
            getattr(host.kernel.namespace, args.verb)(host.spec, spec.network(args.network))
        case power:
            getattr(lab.Lab.attach(args.lab)[args.host], power)()
    return 0


def status(running: lab.Lab) -> None:
    for host in running.machines:
        state = "on" if host.is_on() else "off"
        print(f"{host.name:8}{host.spec.role:5}{host.spec.suite:10}{host.address():14}{state}")


def shell(running: lab.Lab, host: str, command: Sequence[str]) -> None:
    """Becomes ssh: does not return."""
    argv = running[host].connection.argv(*(() if command else ("-t",)))
    os.execvpe(argv[0], [*argv, "--", *command] if command else argv, commands.ENVIRONMENT)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(Progress())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return act(arguments(words))
    except errors.LabError as e:
        print(f"tests.lab: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tests.lab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
