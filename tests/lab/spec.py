import dataclasses
import re

from tests.lab import errors

BASE_OCTET = {"san": 0, "kvm": 10}
MEMORY = {"san": "1g", "kvm": "2g"}

# A network interface's name ends at 15 characters and holds the network's name as well.
HOST_NAME = re.compile(r"[a-z]{1,6}([1-9])")


@dataclasses.dataclass(frozen=True)
class Network:
    """A bridge; subnet is the third octet of 10.77.x.0/24 and the group of fd77:x::/64."""

    name: str
    subnet: int

    def address(self, octet: int) -> str:
        return f"10.77.{self.subnet}.{octet}"

    def address6(self, octet: int) -> str:
        return f"fd77:{self.subnet}::{octet}"


MGMT = Network("mgmt", 0)
NETWORKS = (MGMT, Network("san_a", 1), Network("san_b", 2))


def network(name: str) -> Network:
    for net in NETWORKS:
        if net.name == name:
            return net
    raise errors.LabError(f"no network {name}: {', '.join(n.name for n in NETWORKS)}")


@dataclasses.dataclass(frozen=True)
class Host:
    """What to boot. The digit at the end of the name gives the addresses: kvm2 is .12, san1 .1."""

    name: str
    role: str = "kvm"
    suite: str = "bookworm"
    memory: str = ""

    def __post_init__(self) -> None:
        if not HOST_NAME.fullmatch(self.name):
            raise errors.LabError(f"host name {self.name!r} is not letters and one digit, as kvm1")
        if self.role not in BASE_OCTET:
            raise errors.LabError(f"host {self.name}: no role {self.role}: kvm or san")

    @property
    def octet(self) -> int:
        return BASE_OCTET[self.role] + int(self.name[-1])

    @property
    def mem(self) -> str:
        return self.memory or MEMORY[self.role]

    def tap(self, net: Network) -> str:
        return f"{self.name}-{net.name}"

    def mac(self, net: Network) -> str:
        """The same after each start, as a real host's: the others remember it."""
        return f"02:77:00:00:{net.subnet:02x}:{self.octet:02x}"

    @classmethod
    def parse(cls, text: str) -> "Host":
        """kvm3, kvm3=trixie, san1: the role is san where the name says so."""
        name, _, suite = text.partition("=")
        role = "san" if name.startswith("san") else "kvm"
        return cls(name, role=role, suite=suite or cls.suite)


DEFAULT_HOSTS = (Host("san1", role="san"), Host("kvm1"), Host("kvm2"))
