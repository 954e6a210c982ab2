"""The dashboard, by Grafana's own model of one: a key that Grafana does not know does nothing."""

import json
from collections.abc import Iterator

from tests import tools
from tests.lab import package
from tests.lint.conftest import Ask

DASHBOARD = package.ROOT / "contrib/grafana/kvmlun.json"
READ = """
import json, sys
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard
plugins.register_default_plugins()
read = dashboard.Dashboard.from_json(json.load(open(sys.argv[1])))
unknown = [panel.type_val for panel in read.panels if isinstance(panel.options, dict)]
print(json.dumps([unknown, json.loads(encoder.JSONEncoder().encode(read))]))
"""


def test_grafana_knows_each_panel_and_each_key(ask: Ask) -> None:
    unknown, read = json.loads(ask(tools.program("python"), "-c", READ, DASHBOARD))
    assert unknown == []
    assert list(lost(json.loads(DASHBOARD.read_text()), read)) == []


def lost(ours: object, read: object, where: str = "") -> Iterator[str]:
    """Yield where what Grafana has read lacks something of ours."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for key, value in ours.items():
            yield from lost(value, read.get(key), f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        for number, pair in enumerate(zip(ours, read, strict=True)):
            yield from lost(*pair, f"{where}/{number}")
    elif ours != read:
        yield f"{where}: {ours!r}, read as {read!r}"
