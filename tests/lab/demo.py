"""The main job, shown step by step: a VM on a raw iSCSI LUN starts, moves twice and stops."""

import logging
import sys
import time
from pathlib import Path

from tests.lab import errors, lab, peers, remote, stage, vm

log = logging.getLogger("kvmlun.lab")

VM = "vm1"
ROOT = Path(__file__).resolve().parents[2]


class Demo:
    """Tells what it does on stdout; raises errors.LabError where a promise was broken."""

    def __init__(self, up: lab.Lab) -> None:
        self._stage = stage.Stage(up, peers.Kvmlun())
        self._one, self._two = self._stage.kvms[:2]
        self._began = time.monotonic()
        self._step = 0

    def run(self) -> None:
        self._prepare()
        made = self._define()
        self._start(made)
        self._without_kvmlun(made)
        self._migrate(made)
        self._stop(made)

    def _prepare(self) -> None:
        self._say("kvmlun is installed on kvm1 only; kvm2 is a stock Debian host for now")
        self._stage.install(self._one, bare=[self._two])
        if not self._stage.lab.created:
            self._stage.clear()

    def _define(self) -> vm.Vm:
        volume = self._stage.volume(VM)
        self._say(f"the SAN exports a LUN for {VM}: {volume.wwid}; kvm1 gets these lines:")
        made = self._stage.vm(VM, [volume])
        self._show(self._one.run(f"cat /etc/kvmlun/volumes.d/{VM}.yaml").out)
        self._show(self._one.run(f"kvmlun disk-xml {VM}-0").out)
        self._table()
        return made

    def _start(self, made: vm.Vm) -> None:
        self._say("virsh start vm1 on kvm1: nothing is logged in anywhere yet")
        made.start(self._one)
        self._show(self._one.run("kvmlun status").out)
        self._table()

    def _without_kvmlun(self, made: vm.Vm) -> None:
        self._say("virsh migrate to kvm2, which has no kvmlun: what happens today")
        try:
            made.migrate(self._one, self._two)
        except remote.CommandFailed as refused:
            self._show(refused.err)
        else:
            raise errors.LabError("the migration to a host without kvmlun should have failed")
        made.wait_writes(self._one)
        print("  so it is refused, and the guest goes on at kvm1")
        self._table()

    def _migrate(self, made: vm.Vm) -> None:
        self._say("kvmlun is installed on kvm2; /etc/kvmlun there knows of no volume")
        self._stage.install(self._two)
        self._show(self._two.run("kvmlun volume list").out)
        for source, destination in ((self._one, self._two), (self._two, self._one)):
            self._say(f"virsh migrate from {source.name} to {destination.name}, the guest writing")
            made.migrate(source, destination)
            made.wait_writes(destination)
            self._stage.wait_clean(source)
            self._table()

    def _stop(self, made: vm.Vm) -> None:
        self._say("virsh shutdown vm1")
        made.shutdown(self._one)
        self._stage.wait_clean()
        self._table()
        self._say("every block that the guest reported as written is on the LUN:")
        self._show("\n".join(made.check_data(self._stage.san)))

    def _say(self, text: str) -> None:
        self._step += 1
        seconds = time.monotonic() - self._began
        print(f"\n=== {self._step}. {text}  [{seconds:.0f} s]", flush=True)

    def _show(self, text: str) -> None:
        print("".join(f"    {line}\n" for line in text.strip().splitlines()), end="", flush=True)

    def _table(self) -> None:
        print("  sessions, devices and node records after this step:")
        self._show("\n".join(row for state in self._stage.states() for row in state.rows()))


def main(name: str) -> int:
    """Show the main job on the lab `name`, which stays up; return the exit code."""
    up = lab.Lab(name)
    up.up()
    if not up.created:
        print(f"lab {name} was up already: what is on it is cleared")
    try:
        Demo(up).run()
    except errors.LabError as error:
        print(f"\nFAILED: {error}", flush=True)
        code = 1
    else:
        print("\nPASSED: started, moved there and back, stopped; nothing lost, nothing left over")
        code = 0
    print(_BY_HAND, file=sys.stderr)
    return code


_BY_HAND = f"""
The lab is still up. Look around, from this checkout ({ROOT}):
  a shell on a host       python3 -m tests.lab ssh kvm1     (kvm2, san1)
  start the VM again      python3 -m tests.lab ssh kvm1 virsh start {VM}
  move it                 python3 -m tests.lab ssh kvm1 virsh migrate --live --persistent \\
                              --undefinesource {VM} qemu+ssh://kvm2/system
  the VM's console        python3 -m tests.lab ssh kvm1 tail -f /var/log/lab/{VM}.console
                              (each line a block that it has written; Ctrl-C ends it)
  what kvmlun sees        python3 -m tests.lab ssh kvm1 kvmlun status
Take it down:             python3 -m tests.lab down"""
