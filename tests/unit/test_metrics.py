"""What a monitoring system is told: right numbers, always the same series, nobody's names."""

import dataclasses
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kvmlun import errors, metrics, status
from kvmlun.config import Config, Settings
from kvmlun.lun import Portal
from kvmlun.metrics import Seen
from kvmlun.reconcile import Holds
from kvmlun.tally import Tally

from . import worlds
from .worlds import LUN, OTHER_WWID, TARGET, WWID

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
EMPTY = Seen((), (), (), 0, 0, 0, True, True, False)


def a_busy_host():
    """One LUN that vm1 uses by two paths, of which one is down, and one that nobody uses."""
    holds = Holds()
    holds.wwid(str(WWID), "vm1")
    view = worlds.view(
        worlds.session(1, worlds.disk(map="dm-0")),
        worlds.session(
            2, worlds.disk("sdb", map="dm-0"), portal=Portal("10.77.2.1"), state="FAILED"
        ),
        worlds.session(3, worlds.disk("sdc", wwid=OTHER_WWID)),
        owned=[1, 2],
        holds=holds,
    )
    volume = dataclasses.replace(LUN, volume="vm1-root")
    unused = dataclasses.replace(LUN, wwid=OTHER_WWID, volume="vm2-root")
    config = Config(Settings(), {"vm1-root": volume, "vm2-root": unused})
    return Seen(
        sessions=status.sessions(view, config),
        luns=status.luns(view, config),
        roles=("start", "start", "api"),
        lacking=1,
        suspended=1,
        fencing_problems=2,
        libvirt_up=True,
        config_valid=False,
        drained=True,
    )


def busy_counts():
    counts = Tally()
    with pytest.raises(errors.Refused), counts.asking("prepare"):
        raise errors.Refused("no")
    with pytest.raises(errors.NoAnswer), counts.login():
        raise errors.NoAnswer("no")
    counts.logins.add(0.3)
    counts.drops = 4
    return counts


def series(seen, counts):
    """Return the value of each series, as OpenMetrics' own parser reads them."""
    kind, text = metrics.exposition(metrics.metrics(seen, counts), OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_the_numbers():
    told = series(a_busy_host(), busy_counts())
    assert told["kvmlun_sessions", "true", "LOGGED_IN"] == 1
    assert told["kvmlun_sessions", "true", "FAILED"] == 1
    assert told["kvmlun_sessions", "false", "LOGGED_IN"] == 1
    assert told["kvmlun_luns", "degraded"] == 1 and told["kvmlun_luns", "idle"] == 1
    assert told["kvmlun_luns", "in-use"] == told["kvmlun_luns", "down"] == 0
    assert told["kvmlun_paths", "up"] == told["kvmlun_paths", "down"] == 1
    assert told["kvmlun_leases", "start"] == 2 and told["kvmlun_leases", "takeover"] == 0
    assert told["kvmlun_refusals_total", "refused", "prepare"] == 1
    assert told["kvmlun_login_failures_total", "no_answer"] == 1
    assert told["kvmlun_login_duration_seconds_bucket", "0.25"] == 0
    assert told["kvmlun_login_duration_seconds_bucket", "0.5"] == 1
    assert told["kvmlun_login_duration_seconds_sum",] == 0.3
    assert told["kvmlun_session_drops_total",] == 4
    assert told["kvmlun_luns_lacking_paths",] == told["kvmlun_suspended_domains",] == 1
    assert told["kvmlun_fencing_problems",] == 2
    assert told["kvmlun_drained",] == told["kvmlun_libvirt_up",] == 1
    assert told["kvmlun_config_valid",] == 0


def test_there_are_the_same_series_on_every_host():
    """So that there is a 0 before the first refusal, and no series for each VM that was here."""
    busy = series(a_busy_host(), busy_counts())
    assert busy.keys() == series(EMPTY, Tally()).keys()
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    assert f" the same {len(busy)} series " in page


def test_nobody_learns_a_name():
    _, text = metrics.exposition(metrics.metrics(a_busy_host(), busy_counts()))
    for name in ("vm1", TARGET, str(WWID), "10.77"):
        assert name not in text.decode()


def test_who_does_not_ask_for_openmetrics_gets_what_node_exporter_reads():
    """The textfile collector takes no type but these, and no time beside a value."""
    kind, text = metrics.exposition(metrics.metrics(EMPTY, Tally()))
    assert kind.startswith("text/plain; version=0.0.4")
    lines = text.decode().splitlines()
    types = {line.split()[3] for line in lines if line.startswith("# TYPE")}
    assert types == {"gauge", "counter", "histogram"}
    assert all(len(line.split()) == 2 for line in lines if not line.startswith("#"))
    assert "kvmlun_session_drops_total 0.0" in lines
