"""The parts that keep a fenced LUN's writer the only one, put together."""

from __future__ import annotations

from collections.abc import Callable

from .arrivals import Arrivals
from .fence import Fence
from .handover import Handover
from .hold import Hold
from .keys import Keys, Record
from .leases import Leases
from .maps import Maps
from .reach import Reach
from .standstill import Domains, Standstill
from .withdraw import Withdrawal
from .worker import Workers


class OneWriter:
    """`uses` tells whether a record's domain, which runs, still has that LUN, `needed` whether it
    may still be here, `may_go_on` whether nothing but a reservation keeps a domain (its UUID)
    suspended, `grace` how many seconds a key waits for the other host to take the LUN over.
    `held` is called when the hold of a domain (its UUID) on a LUN has changed, `changed`
    when a key is gone.
    """

    def __init__(
        self,
        workers: Workers,
        maps: Maps,
        keys: Keys,
        arrivals: Arrivals,
        leases: Leases,
        domains: Domains,
        uses: Callable[[Record], bool],
        needed: Callable[[Record], bool],
        may_go_on: Callable[[str], bool],
        grace: Callable[[], float],
        held: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.reach = Reach(workers, maps, keys)
        self.fence = Fence(self.reach, keys, held)
        self.withdrawal = Withdrawal(self.reach, keys, held)
        self.standstill = Standstill(keys, domains, may_go_on, held)
        self.hold = Hold(
            self.reach, self.fence, self.withdrawal, self.standstill, keys, uses, held
        )  # fmt: skip
        self.handover = Handover(
            self.fence, self.hold, self.withdrawal, keys, arrivals, leases, domains.runs_here,
            needed, grace, changed,
        )  # fmt: skip
