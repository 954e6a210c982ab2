"""What is counted, and under which name."""

import pytest

from kvmlun import errors, tally
from kvmlun.tally import Durations, Tally


def test_a_bucket_has_all_that_took_at_most_as_long():
    durations = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 30.0):
        durations.add(seconds)
    assert durations.buckets == [2, 3, 4] and durations.seconds == pytest.approx(30.65)


class Unsupported(errors.Refused):
    """As a module may have its own."""


@pytest.mark.parametrize(
    "problem, cause",
    [
        (errors.NoAnswer("no"), "no_answer"),
        (errors.Drained("no"), "drained"),
        (Unsupported("no"), "refused"),
        (KeyError("a bug"), "internal"),
    ],
)
def test_a_refusal_is_counted_by_its_cause(problem, cause):
    counted = Tally()
    with pytest.raises(type(problem)), counted.asking("prepare"):
        raise problem
    assert counted.refusals == {("prepare", cause): 1} and cause in tally.causes()
    assert counted.asked["prepare"].buckets[-1] == 1


def test_what_is_granted_and_what_only_tells_is_no_refusal():
    counted = Tally()
    for operation in ("migrate", "release", "no such operation"):
        with counted.asking(operation):
            pass
    assert not counted.refusals
    assert sum(each.buckets[-1] for each in counted.asked.values()) == 1


def test_only_logins_that_succeed_have_a_duration():
    counted = Tally()
    with counted.login():
        pass
    with pytest.raises(errors.Timeout), counted.login():
        raise errors.Timeout("no")
    assert counted.logins.buckets[-1] == 1 and counted.failed_logins == {"timeout": 1}


def test_every_error_of_the_daemon_is_a_cause():
    told = set(tally.causes())
    assert {"error", "storage", "stale", "invalid", "config", "unknown", "internal"} < told
    assert not {"found", "left", "exit"} & told
