"""A target's persistent reservations of type 5, in a few lines (SPC-5, 5.14)."""

from kvmlun import reservation
from kvmlun.reservation import Registration, Reservation


class Target:
    """Registrations and the holder of one LUN, by initiator port."""

    def __init__(self):
        self.keys = {}
        self.holder = None
        self.generation = 0

    def pr_capabilities(self, _port):
        return [True, True, True, True]

    def pr_status(self, _port):
        made = (
            Registration(key, port.partition(",")[0], port, port == self.holder, 5)
            for port, key in self.keys.items()
        )
        return reservation.encode(
            Reservation(tuple(made), self.generation, self.keys.get(self.holder, 0))
        )

    def pr_register(self, port, old, new, _aptpl):
        if self.keys.get(port, 0) != old:
            return False
        self.generation += 1
        self.keys.pop(port, None)
        if new:
            self.keys[port] = new
        elif self.holder == port:
            self.holder = None
        return True

    def pr_reserve(self, port, key):
        if self.keys.get(port) != key or self.holder not in (None, port):
            return False
        self.holder = port
        return True

    def pr_preempt(self, port, key, victim):
        gone = [other for other, k in self.keys.items() if k == victim and other != port]
        if self.keys.get(port) != key or not gone:
            return False
        self.generation += 1
        for other in gone:
            del self.keys[other]
        if self.holder in gone:
            self.holder = port
        return True

    def lets_write(self, port):
        return self.holder is None or port in self.keys
