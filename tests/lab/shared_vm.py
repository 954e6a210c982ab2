"""One running VM for all rows of a module, started again where a row has left none."""

from tests.lab import machine, reservations
from tests.lab.stage import Stage
from tests.lab.vm import Vm


class Resident:
    """A VM that stays on the first host."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.here = stage.kvms[0]
        self.running: Vm | None = None

    def open(self) -> Vm:
        if self.running is None:
            self.stage.clear()
            self.here = self.stage.kvms[0]
            self.running = self.stage.vm("vm1", [self.stage.volume("vm1")])
            self.running.start(self.here)
        return self.running

    @property
    def vm(self) -> Vm:
        assert self.running, "a row asks for it with open() first"
        return self.running

    def held(self) -> None:
        """With fencing on, the storage lets the VM's host write and no other."""
        for volume in self.vm.volumes if self.stage.fencing else ():
            reservations.wait_holder(self.stage.san, volume, self.here)

    def lost(self) -> None:
        """A row has failed: nobody knows what it left."""
        self.running = None

    def close(self) -> None:
        if self.running:
            self.running.shutdown(self.here)
            self.stage.wait_clean()
            self.running.check_data(self.stage.san)
        self.stage.clear()


class Traveller(Resident):
    """A VM that goes from one host to the other and back."""

    @property
    def there(self) -> machine.Machine:
        first, second = self.stage.kvms[:2]
        return second if self.here is first else first

    def arrived(self) -> None:
        """The VM is on the other host now."""
        self.here = self.there

    def move(self, options: str, writing: bool = True) -> None:
        """Migrate to the other host; afterwards the source has nothing left."""
        self.vm.migrate(self.here, self.there, options)
        self.arrived()
        if writing:
            self.vm.wait_writes(self.here)
        self.held()
        self.stage.wait_clean(self.there)
