"""kvmlund: put the parts together and run them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import NoReturn

from . import __version__, errors, events, journal, sdnotify
from .arrivals import Arrivals
from .bus.service import Service
from .exporter import Exporter
from .hookserver import HookServer
from .keys import Keys
from .leases import Leases
from .ledger import Ledger
from .manager import Manager
from .markers import Markers
from .worker import Workers

log = logging.getLogger("kvmlun")

# Above the longest of what ends by itself: a wait for open-iscsi's lock.
_END_SECONDS = 15
_FINISH_SECONDS = 3


def main() -> NoReturn:
    """Run until SIGTERM. Sessions are left as they are: VMs outlive the daemon."""
    journal.begin()
    code = 0
    if sys.version_info < (3, 12):
        # What later versions do by themselves: no thread for each child.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        asyncio.run(_serve())
    except errors.Error as error:
        print(f"kvmlund: {error}", file=sys.stderr)
        code = 1
    except Exception:
        log.exception("kvmlund failed")
        code = 1
    # An ordinary exit would wait for a call to a libvirt that does not answer.
    logging.shutdown()
    os._exit(code)


async def _serve() -> None:
    listening = sdnotify.listening_socket()
    workers, leases = Workers(), Leases()
    manager = Manager(leases, Ledger(), Markers(), Arrivals(), Keys(), workers)
    with contextlib.suppress(errors.Error):
        manager.configuration.read()  # which says so itself
    service = Service(manager)
    manager.observers.append(service.refresh)
    manager.udev.start()
    hooks = HookServer(manager.hooks, manager.tally)
    await hooks.start(listening)
    await workers.start()
    tasks = [asyncio.ensure_future(run) for run in (manager.run(), service.run())]
    exporter = Exporter(manager, leases)
    manager.observers.append(exporter.refresh)
    beside = [asyncio.ensure_future(run) for run in (sdnotify.watchdog(), exporter.run())]
    stop = asyncio.get_running_loop().create_future()
    # More than one may come.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.cancel)
    sdnotify.notify("READY=1")
    log.info("kvmlund %s", __version__, extra=events.STARTED())
    # A part that ends by itself has failed; systemd starts us again.
    done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
    sdnotify.notify("STOPPING=1")
    # The VMs of an upgrade's moment start and arrive as at any other.
    await hooks.stop()
    await manager.handover.finish(_FINISH_SECONDS)
    for each in beside:
        each.cancel()
    await workers.stop()
    # Sessions stay as they are in any case: what does not end must not hold up a restart.
    asyncio.get_running_loop().call_later(_END_SECONDS, os._exit, 1)
    for task in done - {stop}:
        task.result()
