"""When a LUN was written and who held its reservation, as its target saw it: on one clock."""

import contextlib
import re
from collections.abc import Iterator
from itertools import pairwise

from tests.lab import remote, san, wait

# inotify(7): IN_MODIFY comes with each write of LIO's to a LUN's file. The reservation has no
# event; its file is target_core_configfs.c's target_pr_res_holder_show().
_PROGRAM = r"""
import ctypes, glob, os, select, sys, time
path = sys.argv[1]
files = [os.path.dirname(found) + "/pr/res_holder"
         for found in glob.glob("/sys/kernel/config/target/core/*/*/udev_path")
         if open(found).read().strip() == path]
libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(0)
assert libc.inotify_add_watch(watch, path.encode(), 2) >= 0, os.strerror(ctypes.get_errno())
poll = select.poll()
poll.register(watch, select.POLLIN)
before = None
while True:
    if poll.poll(2):
        now = time.time()
        os.read(watch, 65536)
        print(now, "written", flush=True)
    holder = "".join(open(file).read().strip() for file in files)
    if holder != before:
        print(time.time(), holder, flush=True)
        before = holder
"""
_HOLDER = re.compile(r"Initiator: ([^\s,]+)")


class Watch:
    """What happened to a volume while it was watched. Times are the SAN's, in seconds (time(2))."""

    def __init__(self, watcher: remote.Spawned) -> None:
        self._watcher = watcher

    def writes(self) -> list[float]:
        return [time for time, what in self._lines() if what == "written"]

    def holders(self) -> list[tuple[float, str]]:
        """Since when each one has held it, "" for nobody; to 2 ms."""
        found = [(time, _HOLDER.search(what)) for time, what in self._lines() if what != "written"]
        return [(time, named[1] if named else "") for time, named in found]

    def pause(self) -> tuple[float, float]:
        """Return begin and end of the longest time without a write."""
        return max(pairwise(self.writes()), key=lambda pair: pair[1] - pair[0])

    def _lines(self) -> list[tuple[float, str]]:
        complete = self._watcher.out.split("\n")[:-1]
        return [(float(time), what) for time, _, what in (line.partition(" ") for line in complete)]


@contextlib.contextmanager
def watched(storage: san.San, volume: san.Volume) -> Iterator[Watch]:
    watcher = storage.host.spawn(["python3", "-I", "-S", "-c", _PROGRAM, volume.path])
    try:
        wait.wait_for("the watch", lambda: watcher.out or watcher.poll() is not None, 30)
        yield Watch(watcher)
    finally:
        watcher.stop()
