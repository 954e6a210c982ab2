"""Alerts, dashboard and docs speak of metrics, labels and values that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

from kvmlun import metrics, tally
from kvmlun.metrics import Seen
from kvmlun.tally import Tally

ROOT = Path(__file__).resolve().parents[2]
CONTRIB = ROOT / "contrib"
DASHBOARD = json.loads((CONTRIB / "grafana/kvmlun.json").read_text())
RULES = yaml.safe_load((CONTRIB / "prometheus/kvmlun.rules.yaml").read_text())
TESTS = yaml.safe_load((CONTRIB / "prometheus/kvmlun.rules.test.yaml").read_text())["tests"]

ALERTS = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
PANELS = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
QUERIES = [*ALERTS.items(), *PANELS]
# A series, and which label it may have.
SERIES = re.compile(r"\b(kvmlun_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def there_are():
    """Return the values of each label of each series."""
    found = {}
    for family in metrics.metrics(Seen((), (), (), 0, 0, 0, True, True, False), Tally()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {"instance": set()})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


KNOWN = there_are()


@pytest.mark.parametrize(
    "query", [query for _, query in QUERIES], ids=[name for name, _ in QUERIES]
)
def test_a_query_asks_for_what_there_is(query):
    labels = set()
    series = SERIES.findall(query)
    assert series or "node_textfile_mtime_seconds" in query
    for name, matchers in series:
        assert name in KNOWN, name
        labels |= KNOWN[name].keys()
        for label, values in MATCHER.findall(matchers):
            assert label in KNOWN[name], f"{name} has no {label}"
            wanted = set() if "$" in values else set(values.split("|"))
            assert wanted <= KNOWN[name][label], f"{name} has no {label} {wanted}"
    for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert set(grouped.split(", ")) <= labels, grouped


def test_every_panel_has_its_own_place():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken) and max(x for x, _ in taken) < 24


def test_the_dashboard_shows_every_metric():
    shown = {name for _, query in PANELS for name, _ in SERIES.findall(query)}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in shown}
    assert families == {re.sub("_(bucket|count|sum)$", "", name) for name in KNOWN}


def test_every_alert_is_tried_in_trouble_and_without():
    told = {}
    for test in TESTS:
        for check in test["alert_rule_test"]:
            told.setdefault(check["alertname"], set()).add("exp_alerts" in check)
    assert told == {alert: {True, False} for alert in ALERTS}


def test_every_alert_says_what_to_do():
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert set(rule["annotations"]) == {"summary", "description"}


def test_the_docs_have_every_metric_with_its_labels():
    text = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(kvmlun_\w+)(?:\{([\w, ]*)\})?` \|", text, re.M)
    documented = {name: set(labels.split(", ")) - {""} for name, labels in rows}
    there_is = {}
    for family in metrics.metrics(Seen((), (), (), 0, 0, 0, True, True, False), Tally()):
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels}
        there_is[family.name + suffix] = labels - {"le"}
    assert documented == there_is
    assert set(re.findall(r"\bKvmlun\w+", text)) == set(ALERTS)


def test_the_docs_have_every_cause_and_the_number_of_series():
    text = (ROOT / "docs/metrics.md").read_text()
    table = text.partition("| cause | meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.M)
    assert {cause.strip("`") for row in rows for cause in row.split(", ")} == set(tally.causes())
    found = metrics.metrics(Seen((), (), (), 0, 0, 0, True, True, False), Tally())
    assert f"the same {sum(len(family.samples) for family in found)} series on" in text
