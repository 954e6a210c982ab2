"""Which configuration is in force while the files are wrong."""

import pytest

from kvmlun import config, errors
from kvmlun.config import Config, Settings
from kvmlun.configuration import Configuration


@pytest.fixture
def files(monkeypatch):
    """What the files give when they are read: a Config, or errors.Config."""
    answers = []

    def load():
        if isinstance(answers[-1], errors.Config):
            raise answers[-1]
        return answers[-1]

    monkeypatch.setattr(config, "load", load)
    monkeypatch.setattr(config, "write_wwids", lambda _: None)
    return answers


def test_a_bad_file_keeps_what_was_read_before(files):
    changes = []
    made = Configuration(lambda: changes.append(made.current))
    good, better = Config(Settings(grace=5.0), {}), Config(Settings(grace=7.0), {})
    bad = errors.Config("kvmlun.yaml:1: no")
    for answer, in_force, problem in (
        (good, good, ""), (bad, good, "kvmlun.yaml:1: no"), (better, better, ""),
    ):  # fmt: skip
        files.append(answer)
        if answer is bad:
            with pytest.raises(errors.Config, match="no"):
                made.read()
        else:
            made.read()
        assert (made.current, made.problem) == (in_force, problem)
        made.require()
    assert changes == [good, better]


def test_without_one_that_was_ever_good_no_vm_starts(files):
    made = Configuration(lambda: None)
    files.append(errors.Config("kvmlun.yaml:1: no"))
    with pytest.raises(errors.Config):
        made.read()
    with pytest.raises(errors.Config, match=r"kvmlun\.yaml:1: no"):
        made.require()
