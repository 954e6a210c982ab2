"""What is known of this host's domains while libvirt answers, and while it does not."""

import asyncio
import dataclasses

import pytest

from kvmlun import errors
from kvmlun.domains import Domains
from kvmlun.listing import Listing

from . import worlds
from .test_listing import DOMAIN, OTHER
from .worlds import UUID

GUEST = worlds.guest(DOMAIN, DOMAIN)


def domains(*answers, promised=()):
    """Return them after libvirt has given `answers`, and what it was to wait for each time."""
    left, asked = list(answers), []

    async def ask(arriving):
        asked.append(arriving)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made = Domains(ask)
    for answer in answers:
        assert asyncio.run(made.refresh(promised)) == isinstance(answer, Listing)
    return made, asked


TOLD = Listing(5.0, (GUEST, OTHER))
SILENT = errors.Storage("no answer")


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ((TOLD, SILENT), "no answer"),
        ((SILENT,), "no answer"),
        ((), "libvirt was not asked yet; try again"),
    ],
)
def test_what_is_not_known_is_refused(answers, why):
    made, _ = domains(*answers)
    with pytest.raises(errors.Refused, match=f"^nobody: {why}$"):
        made.known(lambda why: errors.Refused(f"nobody: {why}"))
    assert made.may_run("a domain that nobody has seen")


def test_what_was_known_is_old():
    made, _ = domains(TOLD, SILENT)
    assert made.known(errors.Storage, old=True) == TOLD and not made.is_known
    made, _ = domains(TOLD, SILENT, TOLD)
    assert made.known(errors.Storage) == TOLD and made.problem == ""


def test_only_who_is_listed_as_active_may_run():
    made, _ = domains(Listing(5.0, (GUEST, dataclasses.replace(OTHER, active=False))))
    assert made.may_run(UUID) and not made.may_run("other") and not made.may_run("third")


def test_who_ended_is_off_until_a_later_listing():
    made, _ = domains(TOLD)
    made.ended(UUID, 6.0)
    assert not made.may_run(UUID) and made.may_run("other")
    early, late = Listing(5.5, (GUEST,)), Listing(6.5, (GUEST,))
    for listing, runs in ((early, False), (late, True), (early, True)):
        made._ask = lambda _, listing=listing: asyncio.sleep(0, listing)
        asyncio.run(made.refresh(()))
        assert made.may_run(UUID) == runs


def test_who_was_promised_a_lun_is_waited_for_until_it_was_shown():
    _, asked = domains(TOLD, TOLD, promised=[UUID, "third"])
    assert asked == [{UUID, "third"}, {"third"}]
