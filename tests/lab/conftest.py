"""One lab for all lab tests; each test starts on clean hosts and leaves evidence if it fails."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, doctor, own, peers, pool, rows, shared_vm, stage

FAILED, DONE = pytest.StashKey[bool](), pytest.StashKey[bool]()
EVIDENCE = Path(os.environ.get("KVMLUN_EVIDENCE", "/var/tmp/kvmlun-lab"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peer", choices=sorted(peers.PEERS), default="kvmlun")
    parser.addoption("--lab", default="kvmlun", help="name of the lab; a running one is used")
    parser.addoption("--one-host", metavar="HOST", help="only rows that need one host: this one")
    parser.addoption("--more-hosts", action="store_true", help="only rows that need more hosts")
    parser.addoption("--long", action="store_true", help="also rows that only a campaign runs")
    parser.addoption("--results", type=Path, help="add a line for each row; skip rows it has")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = chosen(config, items)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    done = {row["row"] for row in results(config)}
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
        item.stash[DONE] = row_name(item) in done
        if item.stash[DONE]:
            item.add_marker(pytest.mark.skip(reason="its result is there already"))


def chosen(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """The rows that this run is for."""
    if not config.getoption("--long"):
        items = [item for item in items if not item.get_closest_marker("campaign")]
    alone = [item for item in items if item.get_closest_marker("one_host")]
    if config.getoption("--more-hosts"):
        return [item for item in items if item not in alone]
    return alone if config.getoption("--one-host") else items


def results(config: pytest.Config) -> list[dict[str, str]]:
    file = config.getoption("--results")
    return [json.loads(line) for line in file.open()] if file and file.exists() else []


def row_name(item: pytest.Item) -> str:
    return rows.row_name(item.path.stem.removeprefix("test_"), item.name.removeprefix("test_"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.stash[FAILED] = True
    file = item.config.getoption("--results")
    tells = report.when == "call" or report.outcome in ("failed", "skipped")
    if file and tells and not item.stash[DONE]:
        line = {"row": row_name(item), "outcome": report.outcome, "seconds": report.duration}
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Iterator[stage.Stage]:
    logging.getLogger("kvmlun.lab").setLevel(logging.INFO)
    peer = peers.PEERS[request.config.getoption("--peer")]()
    with Lab(request.config.getoption("--lab")) as lab:
        made = stage.Stage(lab, peer, request.config.getoption("--one-host") or "")
        made.install()
        made.clear()
        yield made


@pytest.fixture
def failed(installed: stage.Stage, request: pytest.FixtureRequest) -> Iterator[Callable[[], bool]]:
    """Tells a fixture, once its test is over, whether that failed; evidence is left if so."""

    def failed() -> bool:
        return request.node.stash.get(FAILED, False)

    yield failed
    if failed():
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)
        installed.lab.collect(EVIDENCE / name)


@pytest.fixture
def s(
    request: pytest.FixtureRequest, installed: stage.Stage, failed: Callable[[], bool]
) -> Iterator[stage.Stage]:
    """The stage, cleared after the test; a module may say ONLY_KVMLUN, and why."""
    why = getattr(request.module, "ONLY_KVMLUN", "")
    if why and installed.peer.name == "naive":
        pytest.skip(why)
    yield installed
    installed.clear()


@pytest.fixture
def kvmlun(installed: stage.Stage) -> None:
    """Skips a row for the naive hook, which has none of what it is about."""
    if installed.peer.name != "kvmlun":
        pytest.skip("only kvmlun has a daemon")


@pytest.fixture
def round_trips() -> int:
    return int(os.environ.get("KVMLUN_ROUND_TRIPS", "2"))


@pytest.fixture
def pools(s: stage.Stage) -> Iterator[pool.Pools]:
    made = pool.Pools(s)
    yield made
    made.drop()


@pytest.fixture
def things(s: stage.Stage) -> Iterator[own.Things]:
    """What the first host has of its own; it is set up as kvmlun's doctor says."""
    with own.things(s.kvms[0]) as things:
        if s.peer.name == "kvmlun":
            doctor.apply(s.kvms[0])
        yield things


@pytest.fixture(scope="module")
def clean(installed: stage.Stage) -> Iterator[None]:
    """The first host as doctor wants it to be: it found nothing when this was made."""
    if installed.peer.name == "naive":
        yield
        return
    with doctor.configuration_kept(installed.kvms[0]):
        doctor.apply(installed.kvms[0])
        yield


@pytest.fixture(scope="module")
def shared_resident(installed: stage.Stage) -> Iterator[shared_vm.Resident]:
    resident = shared_vm.Resident(installed)
    yield resident
    resident.close()


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.campaign)],
    ids=["plain", "fenced"],
)
def shared_traveller(
    installed: stage.Stage, request: pytest.FixtureRequest
) -> Iterator[shared_vm.Traveller]:
    if request.param and installed.peer.name == "naive":
        pytest.skip("only kvmlun fences")
    traveller = shared_vm.Traveller(installed.fenced() if request.param else installed)
    yield traveller
    traveller.close()
