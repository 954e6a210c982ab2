"""libvirt's lost Finish: the destination runs the guest, and the source resumes it as well.

A client that gets no answer to Finish takes the migration for cancelled (libvirt, comment in
virDomainMigrateVersion3Full of src/libvirt-domain.c: "the lock manager plugins should take care").
"""

import contextlib
import signal
from collections.abc import Iterator

from tests.lab import machine, migration, remote, vm, wait

# virsh takes a connection for dead after so many pings without an answer.
KEEPALIVE = "--keepalive-interval 1 --keepalive-count 3"
GIVE_UP_SECONDS = 60


@contextlib.contextmanager
def muted(host: machine.Machine, towards: machine.Machine) -> Iterator[None]:
    """Let nothing that a host says on ssh connections reach another; it still hears that one.

    The storage networks and the lab's own connection stay as they are.
    """
    # That kernel has no nftables for IP.
    rule = f"OUTPUT --destination {towards.address()} --protocol tcp --sport 22 --jump DROP"
    host.run(f"iptables-legacy --append {rule}")
    try:
        yield
    finally:
        host.run(f"iptables-legacy --delete {rule}")


@contextlib.contextmanager
def unanswered(
    client: remote.Spawned, moved: vm.Vm, source: machine.Machine, destination: machine.Machine
) -> Iterator[None]:
    """Let the client of before_finish() call Finish, which is carried out, and hear no answer.

    When the block is over it has given up, and libvirt has resumed the source.
    """
    with muted(destination, source):
        client.signal(signal.SIGCONT)
        wait.wait_for("Finish", lambda: moved.state(destination) == "running", GIVE_UP_SECONDS)
        yield
        assert client.wait(GIVE_UP_SECONDS).rc != 0, "the answer was heard"


@contextlib.contextmanager
def lost_finish(
    moved: vm.Vm, source: machine.Machine, destination: machine.Machine
) -> Iterator[None]:
    """Migrate a VM: it runs at the destination now, and at the source as well when this is over."""
    with (
        migration.before_finish(moved, source, destination, KEEPALIVE) as client,
        unanswered(client, moved, source, destination),
    ):
        yield
