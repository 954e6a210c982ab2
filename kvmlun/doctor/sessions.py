"""iSCSI sessions whose disks VMs have, and what may take these away too soon. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from ..finding import Finding
from ..pools import Pool
from ..sysfs import Disk, Session


def replacement(
    sessions: Iterable[Session],
    guests: Collection[str],
    seconds: Callable[[int], str],
    wanted: float,
) -> Iterator[Finding]:
    """Find guests' disks whose I/O fails sooner than `wanted` seconds after a session is lost.

    `guests` are the ID_PATHs of guests' disks, `seconds` gives what the kernel has for a session
    (recovery_tmo): "off", or below 0, is no end. A path of a multipath map is to fail soon, so
    that another one is taken.
    """
    for session in sessions:
        given = seconds(session.sid)
        if not any(session.id_path(d) in guests and not d.map for d in session.disks):
            continue
        if given.isdigit() and int(given) < wanted:
            record = f"iscsiadm -m node -T {session.target}"
            yield Finding(
                "replacement",
                f"a VM's I/O fails when session {session.sid} ({session.target}) is lost for "
                f"{given} s, not {wanted:.0f} s as settings.replacement says",
                remedy=f"echo {wanted:.0f} >/sys/class/iscsi_session/session{session.sid}"
                f"/recovery_tmo, and for the next login {record} -o update -n "
                f"node.session.timeo.replacement_timeout -v {wanted:.0f}",
            )


def pools(
    active: Iterable[Pool], sessions: Iterable[Session], users: Callable[[Disk], list[str]]
) -> Iterator[Finding]:
    """Find pools of libvirt's that would log out below somebody who has the disk open.

    ``pool-destroy`` asks nobody, and logs out of the target at the pool's portal (libvirt
    src/storage/storage_backend_iscsi.c, virStorageBackendISCSIStopPool).
    """
    sessions = list(sessions)
    for pool in active:
        for session in sessions:
            if not _ends(pool, session):
                continue
            used = [f"{disk.node} from {', '.join(who)}" for disk in session.disks
                    if (who := users(disk))]  # fmt: skip
            if used:
                yield Finding(
                    "pools",
                    f"virsh pool-destroy {pool.name} would log out of {session.target} and take "
                    f"{'; '.join(used)}",
                    remedy=f"never destroy {pool.name} while that runs, nor let it be started and "
                    "stopped by anything; give its VMs volumes instead of it (docs/pools.md)",
                )


def _ends(pool: Pool, session: Session) -> bool:
    """A pool's host may be a name; then any session with its target counts."""
    if session.target != pool.target:
        return False
    portal, at = pool.portal, session.portal
    return not (portal and at) or (portal.host, portal.port) == (at.host, at.port)
