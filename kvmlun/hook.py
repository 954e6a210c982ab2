"""The qemu hook's slow path: for domains with a disk that may be kvmlun's.

libvirt waits for it and holds the VM's lock, and starting Python is most of its
time, so it imports as little as it can: no XML parser, no JSON, and of `socket`
the C part that it is made of. It never calls libvirt, and nothing it starts outlives it. Its
stderr is what ``virsh`` prints, so it is one line.
"""

import _socket
import os
import sys
import time

from . import hookproto, links

WWIDS = "/var/lib/kvmlun/wwids"
POOLS = ("/run/libvirt/storage", "/etc/libvirt/storage")
# Whatever is asked can be asked again, as after the death of a daemon that was at it.
TRIES = 3
_UUID_LENGTH = 36


class Refusal(Exception):
    """The start is refused; the text is the line for the operator."""


def main(argv: list[str], xml: bytes) -> int:
    """Answer one hook call; `argv` is libvirt's: name, operation, sub-operation, extra."""
    name, operation, subop, extra = [*argv, "", "", "", ""][:4]
    seconds = hookproto.ASKED.get(operation, 0.0)
    if operation == "started" and _file(hookproto.ARRIVING, xml):
        seconds = hookproto.STARTED_SECONDS
    asked = seconds > 0
    if not asked and operation not in hookproto.TOLD:
        return 0
    header = {
        "v": hookproto.VERSION,
        "op": operation,
        "subop": subop,
        "extra": extra,
        "name": name,
        "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
        "deadline": seconds,
    }
    try:
        if len(xml) > hookproto.MAX_XML:
            raise Refusal("the domain XML is larger than 16 MiB")
        if asked:
            _ask(header, xml)
        else:
            _send(header, xml, hookproto.TELL_SECONDS).close()
    except (Refusal, OSError, ValueError) as error:
        if asked:
            line = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
            print(f"kvmlun: {line}", file=sys.stderr)
            return 1
    return 0


def _ask(header: dict[str, object], xml: bytes) -> None:
    """Raises Refusal to refuse, OSError or ValueError where there is no answer."""
    if not concerns(xml) or _bypassed(xml, str(header["name"])):
        return
    seconds = float(str(header["deadline"]))
    end = time.monotonic() + seconds
    reply, tries = b"", 0
    try:
        while not reply and tries < TRIES:
            reply, tries = _exchange(header, xml, end), tries + 1
    except TimeoutError:
        raise Refusal(
            f"kvmlund did not answer within {seconds:.0f} s; see journalctl -u kvmlund"
        ) from None
    except OSError as error:
        raise Refusal(
            f"kvmlund does not answer ({error.strerror or error}); "
            "start it with: systemctl start kvmlund.socket kvmlund"
        ) from error
    if reply.startswith(hookproto.GRANTED):
        return
    if not reply:
        raise Refusal(f"kvmlund ended {tries} times without an answer; see journalctl -u kvmlund")
    import json

    answer = json.loads(reply)
    line = answer.get("line") if isinstance(answer, dict) else None
    raise Refusal(line or "kvmlund refused without a reason")


def _exchange(header: dict[str, object], xml: bytes, end: float) -> bytes:
    """Return the reply, b"" if kvmlund died: systemd starts it again for the next who asks."""
    try:
        connection = _send(header, xml, max(end - time.monotonic(), 0.001))
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except (ConnectionResetError, BrokenPipeError):
        return b""


def _send(header: dict[str, object], xml: bytes, seconds: float) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(seconds)
    connection.connect(hookproto.SOCKET)
    connection.sendall(_frame(header) + xml)
    connection.shutdown(_socket.SHUT_WR)
    return connection


def _frame(header: dict[str, object]) -> bytes:
    """Return the header as hookproto describes it, with its length."""
    fields = (f'"{key}": {_encode(value)}' for key, value in header.items())
    data = f"{{{', '.join(fields)}}}".encode()
    return len(data).to_bytes(4, "big") + data


def _encode(value: object) -> str:
    """Return `value` as JSON, a text with its UTF-16 codes where it is not plain."""
    if not isinstance(value, str):
        return repr(value)
    codes = []
    for code in map(ord, value):
        high, low = divmod(code - 0x10000, 0x400)
        codes += [code] if code < 0x10000 else [0xD800 + high, 0xDC00 + low]
    return '"' + "".join(f"\\u{code:04x}" for code in codes) + '"'


def concerns(xml: bytes) -> bool:
    """Tell whether a disk of the domain is or may be ours.

    libvirt formats the XML itself, so each source stands there as one quoted
    text. A link that leads to no iSCSI disk counts if the catalog or the
    domain's metadata has its WWID, since it has to lead to that LUN; a missing
    one counts while nobody knows the catalog as well. What is below an overlay
    stands in the metadata only.
    """
    try:
        with open(WWIDS, "rb") as file:
            catalog = set(file.read().split())
    except OSError:
        catalog = None
    metadata = _metadata(xml)
    if b"overlay=" in metadata or any(map(_is_iscsi_pool, _attributes(xml, b"pool"))):
        return True
    known = (catalog or set()) | set(metadata.replace(b'"', b"'").split(b"'"))
    for link in _links(xml):
        judged, wwid = links.judge(link), links.spelled(link).encode()
        if judged == links.OURS or (judged == links.UNSEEN and catalog is None):
            return True
        if wwid and wwid in known:
            return True
    return False


def _is_iscsi_pool(name: str) -> bool:
    """Tell whether libvirt's file says so; one that can't be read is libvirt's own problem."""
    for folder in POOLS:
        try:
            with open(f"{folder}/{name}.xml", "rb") as file:
                return b"<pool type='iscsi'" in file.read()
        except (OSError, ValueError):  # a NUL in the name
            continue
    return False


def _attributes(xml: bytes, name: bytes) -> set[str]:
    """Return the values of an attribute anywhere in the XML that libvirt wrote."""
    rest = xml.split(b" " + name + b"='")[1:]
    escaped = {text.partition(b"'")[0].decode(errors="replace") for text in rest}
    for sign, text in (("<", "&lt;"), (">", "&gt;"), ("'", "&apos;"), ("&", "&amp;")):
        escaped = {value.replace(text, sign) for value in escaped}
    return {value for value in escaped if "/" not in value}


def _links(xml: bytes) -> set[str]:
    quoted = xml.replace(b'"', b"'").split(b"'")
    found = (
        text for text in quoted if text.startswith((b"/dev/disk/by-id/", b"/dev/disk/by-path/"))
    )
    return {link.decode(errors="replace") for link in found}


def _metadata(xml: bytes) -> bytes:
    return xml[: xml.find(b"</metadata>")].lower() if b"kvmlun.github.io" in xml else b""


def _bypassed(xml: bytes, name: str) -> bool:
    """Break-glass: an operator said that this VM is to start unchecked."""
    file = _file(hookproto.BYPASS, xml)
    if not file:
        return False
    import syslog

    syslog.openlog("kvmlun-hook", facility=syslog.LOG_DAEMON)
    syslog.syslog(
        syslog.LOG_ALERT,
        f"domain {name!r} starts WITHOUT kvmlun's checks: {file} exists",
    )
    return True


def _file(folder: str, xml: bytes) -> str:
    """Return the path of the file that a folder has for the domain, "" where it has none."""
    uuid = xml.partition(b"<uuid>")[2].partition(b"</uuid>")[0].decode(errors="replace").strip()
    path = f"{folder}/{uuid}"
    plain = len(uuid) == _UUID_LENGTH and "/" not in uuid
    return path if plain and os.path.exists(path) else ""
