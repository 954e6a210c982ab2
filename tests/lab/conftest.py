"""One lab for all lab tests; each test starts on clean hosts and leaves evidence if it fails."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, peers, stage

EVIDENCE = Path(os.environ.get("KVMLUN_EVIDENCE", "/var/tmp/kvmlun-lab"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peer", choices=sorted(peers.PEERS), default="kvmlun")
    parser.addoption("--lab", default="kvmlun", help="name of the lab; a running one is used")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.stash[FAILED] = True


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Iterator[stage.Stage]:
    logging.getLogger("kvmlun.lab").setLevel(logging.INFO)
    peer = peers.PEERS[request.config.getoption("--peer")]()
    with Lab(request.config.getoption("--lab")) as lab:
        made = stage.Stage(lab, peer)
        made.install()
        made.clear()
        yield made


@pytest.fixture
def s(installed: stage.Stage, request: pytest.FixtureRequest) -> Iterator[stage.Stage]:
    """The stage, cleared after the test."""
    yield installed
    if request.node.stash.get(FAILED, False):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)
        installed.lab.collect(EVIDENCE / name)
    installed.clear()
