"""Which definition of a domain is explained: libvirt does not signal every change of it."""

import asyncio
import dataclasses

import pytest

from kvmlun import errors
from kvmlun.explainer import Explainer
from kvmlun.listing import Listing

from . import worlds
from .test_listing import DOMAIN

BEFORE = worlds.guest(None, DOMAIN, active=False)
NOW = dataclasses.replace(BEFORE, persistent=dataclasses.replace(DOMAIN, others=(("vdb", ""),)))


def explained(answer, problem=""):
    """Return the guest that is explained if libvirt, asked for it alone, gives `answer`."""

    async def ask(uuid):
        assert uuid == BEFORE.uuid and not problem
        if isinstance(answer, Exception):
            raise answer
        return answer

    unused = [None] * 8
    domains = worlds.domains(Listing(0.0, (BEFORE,)), problem)
    explainer = Explainer(domains, ask, *unused, lambda: 10.0)
    return asyncio.run(explainer._fresh(explainer._guest(BEFORE.name)))


def test_a_definition_is_explained_as_it_is_now():
    assert explained(NOW) == NOW != BEFORE


def test_while_libvirt_does_not_answer_it_is_as_it_was_before():
    assert explained(errors.Storage("libvirt: no connection")) == BEFORE
    assert explained(NOW, problem="libvirt: no connection") == BEFORE


def test_a_domain_that_is_gone_is_unknown():
    with pytest.raises(errors.Unknown, match="no domain 'vm1'"):
        explained(None)
