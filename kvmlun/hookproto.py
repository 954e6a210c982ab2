"""What the hook and the daemon say to each other over the Unix socket.

Request: four bytes of length (big endian), a JSON header of that length, then
the domain XML until the end of the stream. Reply: a JSON object until the end.

The header has ``v``, the hook's argv as ``name``, ``op``, ``subop`` and ``extra``,
``boottime`` when the hook began (CLOCK_BOOTTIME, seconds) and ``deadline``, how
many seconds it waits. The reply has ``ok``, which comes first, ``v`` and ``line``, the reason.
"""

VERSION = 1
SOCKET = "/run/kvmlun/hook.sock"
# A file of this name and a domain's UUID: the operator wants it to run unchecked (break-glass).
BYPASS = "/run/kvmlun/bypass"
# A file of this name and a domain's UUID: it may arrive by a migration, with a fenced LUN.
ARRIVING = "/run/kvmlun/arriving"
# ``kvmlun doctor`` has libvirt call the hook with ``restore`` for a domain of this name, which
# does not exist, and kvmlund answers with this line: so it came all the way.
PROBE = "kvmlun-doctor"
REACHED = "the question of kvmlun doctor has come through"
MAX_HEADER = 64 << 10
MAX_XML = 16 << 20

# Operations that may refuse, with the seconds that libvirt has to wait at the most.
ASKED = {"migrate": 10.0, "restore": 10.0, "prepare": 45.0, "start": 10.0}
TOLD = ("started", "reconnect", "stopped", "release")
# ``started`` is asked for a domain in ARRIVING: its guest still runs at the source, if it runs.
STARTED_SECONDS = 10.0
TELL_SECONDS = 2.0
# A reply that begins like this needs no JSON parser.
GRANTED = b'{"ok": true,'
