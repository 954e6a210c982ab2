"""What kvmlun volume show prints."""

import asyncio
import types

from kvmlun.cli import volume


class Catalog:
    async def volume(self, name):
        return {"name": name, "lun": 0, "portals": ["10.0.0.1:3260", "10.0.1.1:3260"],
                "ifaces": [], "link": "", "fencing": ""}  # fmt: skip


def test_each_key_says_what_is_in_force_also_where_it_is_not_given():
    given = types.SimpleNamespace(volume="vm1-root", json=False)
    assert asyncio.run(volume._show(Catalog(), given)).splitlines() == [
        "name:      vm1-root",
        "lun:       0",
        "portals:   10.0.0.1:3260, 10.0.1.1:3260",
        "ifaces:    - (routing decides)",
        "link:      -",
        "fencing:   - (as settings.fencing, else as the VM's metadata says)",
    ]
