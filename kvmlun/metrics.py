"""What a monitoring system is told, and in which formats. The only importer of prometheus_client.

Names are as in prometheus.io/docs/practices/naming. No label is a name from outside: the number of
series is the same on every host, and nobody learns from them what VMs and volumes are called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from . import __version__, leases, status, sysfs, tally
from .status import LunStatus, SessionStatus
from .tally import Durations, Tally

Metrics: TypeAlias = list[Metric]

_ROLES = (leases.START, leases.CONNECTION, leases.TAKEOVER)


@dataclass(frozen=True)
class Seen:
    """The host at one moment; `roles` are those of its leases, `lacking` how many LUNs that VMs
    use have fewer paths than portals, `suspended` how many VMs wait for their LUN."""

    sessions: Sequence[SessionStatus]
    luns: Sequence[LunStatus]
    roles: Sequence[str]
    lacking: int
    suspended: int
    fencing_problems: int
    libvirt_up: bool
    config_valid: bool
    drained: bool


def exposition(found: Metrics, accept: str = "") -> tuple[str, bytes]:
    """Return content type and text: OpenMetrics for who accepts it, else Prometheus' own format.

    `accept` is a header of HTTP. node_exporter's textfile collector reads Prometheus' format only.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(found))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class _Collector(Collector):
    def __init__(self, found: Metrics) -> None:
        self._found = found

    def collect(self) -> Metrics:
        return self._found


def metrics(seen: Seen, counts: Tally) -> Metrics:
    """Return every metric, also those that are 0: what is missing can't be alerted on."""
    return [*_host(seen), *_here(seen), *_counted(counts)]


def _host(seen: Seen) -> Iterator[Metric]:
    yield InfoMetricFamily("kvmlun_build", "Version of kvmlun.", {"version": __version__})
    yield _gauge("libvirt_up", "Whether libvirt answers.", seen.libvirt_up)
    yield _gauge("config_valid", "Whether /etc/kvmlun is in force as it is now.", seen.config_valid)
    yield _gauge("drained", "Whether no LUN may come to this host.", seen.drained)


def _here(seen: Seen) -> Iterator[Metric]:
    sessions = Counter((s.state, str(s.owned).lower()) for s in seen.sessions)
    yield _gauges(
        "sessions", "iSCSI sessions that kvmlun deals with, by whether it made them.",
        {(state, owned): sessions[state, owned]
         for state in sysfs.STATES for owned in ("true", "false")},
        "state", "owned",
    )  # fmt: skip
    luns = Counter(lun.state for lun in seen.luns)
    yield _gauges(
        "luns", "LUNs that are here, needed here or in the catalog.",
        {(state,): luns[state] for state in status.STATES}, "state",
    )  # fmt: skip
    up = {session.sid for session in seen.sessions if session.state == sysfs.LOGGED_IN}
    paths = Counter(sid in up for lun in seen.luns if lun.domains for sid in lun.sessions)
    yield _gauges(
        "paths", "Sessions with a LUN that somebody needs, each such LUN counted.",
        {("up",): paths[True], ("down",): paths[False]}, "state",
    )  # fmt: skip
    yield _gauge(
        "luns_lacking_paths", "LUNs that VMs use with fewer paths than portals.", seen.lacking
    )
    roles = Counter(seen.roles)
    yield _gauges(
        "leases", "Promises of a LUN to a VM that starts or runs, or to whoever connected it.",
        {(role,): roles[role] for role in _ROLES}, "role",
    )  # fmt: skip
    yield _gauge("suspended_domains", "VMs that wait until the right LUN is back.", seen.suspended)
    yield _gauge(
        "fencing_problems", "VMs that fencing has suspended, or whose LUN can't be fenced.",
        seen.fencing_problems,
    )  # fmt: skip


def _counted(counts: Tally) -> Iterator[Metric]:
    yield _histograms(
        "operation_duration_seconds", "How long hooks and connections were waited for.",
        {(operation,): durations for operation, durations in counts.asked.items()}, "operation",
    )  # fmt: skip
    causes = tally.causes()
    yield _counters(
        "refusals", "What was refused or failed, by the kind of error.",
        {(operation, cause): counts.refusals[operation, cause]
         for operation in tally.OPERATIONS for cause in causes},
        "operation", "cause",
    )  # fmt: skip
    yield _histograms(
        "login_duration_seconds", "How long logins took that succeeded.", {(): counts.logins}
    )
    yield _counters(
        "login_failures", "Logins that failed, by the kind of error.",
        {(cause,): counts.failed_logins[cause] for cause in causes}, "cause",
    )  # fmt: skip
    yield _counters(
        "session_drops", "Sessions of this host whose target stopped to answer.",
        {(): counts.drops},
    )  # fmt: skip
    yield _histograms(
        "reconcile_duration_seconds", "How long looks at everything took.", {(): counts.reconciles}
    )


_Values = Mapping[tuple[str, ...], float]


def _gauge(name: str, text: str, value: float) -> Metric:
    return _gauges(name, text, {(): value})


def _gauges(name: str, text: str, values: _Values, *labels: str) -> Metric:
    made = GaugeMetricFamily(f"kvmlun_{name}", text, labels=labels)
    for named, value in values.items():
        made.add_metric(named, value)
    return made


def _counters(name: str, text: str, values: _Values, *labels: str) -> Metric:
    made = CounterMetricFamily(f"kvmlun_{name}", text, labels=labels)
    for named, value in values.items():
        made.add_metric(named, value)
    return made


def _histograms(
    name: str, text: str, values: Mapping[tuple[str, ...], Durations], *labels: str
) -> Metric:
    made = HistogramMetricFamily(f"kvmlun_{name}", text, labels=labels, unit="seconds")
    for named, durations in values.items():
        bounds = [*map(str, durations.bounds), "+Inf"]
        buckets = list(zip(bounds, durations.buckets, strict=True))
        made.add_metric(named, buckets, durations.seconds)
    return made
