"""Whether there is a libvirt to list domains, and what a listing tells once one has ended."""

import dataclasses

from kvmlun.libvirtconn import Listing, is_absent

from . import worlds
from .worlds import UUID, WWID

DOMAIN = worlds.domain(WWID.link)
OTHER = dataclasses.replace(worlds.guest(DOMAIN), uuid="other")


def ended(guest):
    return Listing(1.0, (guest, OTHER)).without([UUID]).guests


def test_a_domain_that_ended_is_off_and_still_defined():
    there = worlds.guest(DOMAIN, DOMAIN)
    there = dataclasses.replace(there, in_transit=True)
    assert ended(there) == (worlds.guest(None, DOMAIN, active=False, settled=False), OTHER)


def test_one_without_a_definition_is_gone():
    assert ended(worlds.guest(DOMAIN)) == (OTHER,)


def test_a_host_without_libvirt_has_no_domains_but_those_that_outlive_it(tmp_path):
    assert is_absent(tmp_path)
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    (tmp_path / "run/libvirt/qemu/vm1.pid").touch()
    assert not is_absent(tmp_path)


def test_either_daemon_is_a_libvirt(tmp_path):
    (tmp_path / "usr/sbin").mkdir(parents=True)
    for name in ("libvirtd", "virtqemud"):
        daemon = tmp_path / "usr/sbin" / name
        daemon.touch()
        assert not is_absent(tmp_path)
        daemon.unlink()
