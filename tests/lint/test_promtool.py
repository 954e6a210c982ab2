"""What Prometheus' own tool says of our metrics, alerts and queries."""

import json
import subprocess
from pathlib import Path

import pytest

from kvmlun import metrics
from kvmlun.metrics import Seen
from kvmlun.tally import Tally
from tests.lab import debs, paths

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
RULES = CONTRIB / "prometheus/kvmlun.rules.yaml"


@pytest.fixture(scope="module")
def promtool():
    """Run it; the first time it is fetched, since installing it would start Prometheus."""
    program = debs.unpacked(paths.cache(), "prometheus") / "usr/bin/promtool"

    def run(*arguments, text=b""):
        done = subprocess.run([program, *map(str, arguments)], input=text, capture_output=True)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, said
        return said

    return run


def test_names_and_types_are_as_prometheus_wants_them(promtool):
    found = metrics.metrics(Seen((), (), (), 0, 0, 0, True, True, False), Tally())
    assert promtool("check", "metrics", text=metrics.exposition(found)[1]) == ""


def test_it_finds_fault_with_other_ones(promtool):
    with pytest.raises(AssertionError, match="counter metrics should have"):
        promtool("check", "metrics", text=b"# HELP x X.\n# TYPE x counter\nx 1\n")


def test_alerts_are_well_formed_and_fire_when_they_should(promtool):
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", RULES.with_suffix(".test.yaml"))


def test_queries_of_the_dashboard_are_well_formed(promtool, tmp_path):
    dashboard = json.loads((CONTRIB / "grafana/kvmlun.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", file)
