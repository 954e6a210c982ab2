"""What kvmlun volume show prints."""

import asyncio
import types

from kvmlun.cli import volume


class Catalog:
    async def volume(self, name):
        return {"name": name, "lun": 0, "portals": ["10.0.0.1:3260", "10.0.1.1:3260"], "ifaces": []}


def test_each_key_has_a_value_also_what_is_not_given():
    given = types.SimpleNamespace(volume="vm1-root", json=False)
    assert asyncio.run(volume._show(Catalog(), given)).splitlines() == [
        "name:      vm1-root",
        "lun:       0",
        "portals:   10.0.0.1:3260, 10.0.1.1:3260",
        "ifaces:    -",
    ]
