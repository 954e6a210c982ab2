"""Does the libvirt that runs call our hook? Asked of libvirt itself. Pure.

libvirt looks for hooks when it starts and when it is reloaded, and then only remembers whether
there was one (src/util/virhook.c, virHookInitialize): no file tells what it remembers, and no
call of its API. So it is asked for something that calls the hook and can't succeed: to restore a
saved domain with another definition (src/qemu/qemu_driver.c, qemuDomainRestoreInternal). It reads
the file, calls the hook with operation ``restore``, and then compares the definitions; these differ
in their UUID, so it refuses before there is a domain. What it says then tells whether the hook was
called: by the hook's own line, which does not depend on libvirt's language, or by the two UUIDs.
"""

from __future__ import annotations

import re
import struct

from .. import errors, hookproto
from ..finding import Finding

HOOK = "/etc/libvirt/hooks/qemu.d/50-kvmlun"
_SAVED, _OTHER = "b3a4c1de-6b0f-4d0e-9c55-d0c704000001", "b3a4c1de-6b0f-4d0e-9c55-d0c704000002"
# 192.0.2.1 is nobody's (RFC 5737); the hook sees an iSCSI disk by the link's form.
_DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory>1024</memory>
  <os><type>hvm</type></os>
  <devices>
    <disk type='block' device='disk'>
      <source dev='/dev/disk/by-path/ip-192.0.2.1:3260-iscsi-iqn.2026-11.com.example:doctor-lun-0'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""
_CANNOT_EXECUTE = 126  # src/util/vircommand.c, EXIT_CANNOT_INVOKE
_REINSTALL = "apt install --reinstall kvmlun"


def saved() -> bytes:
    """Return a saved domain (src/qemu/qemu_saveimage.h) that no host has, without any memory."""
    xml = _xml(_SAVED).encode() + b"\0"
    return struct.pack("=16s5I56x", b"LibvirtQemudSave", 2, len(xml), 0, 0, 0) + xml


def other() -> str:
    """Return the definition that it can't be restored with."""
    return _xml(_OTHER)


def _xml(uuid: str) -> str:
    return _DOMAIN.format(name=hookproto.PROBE, uuid=uuid)


def judge(told: str, lacks: str, profile: str) -> Finding | None:
    """Judge what ``virsh restore`` told; raises errors.Storage where that says nothing of a hook.

    `lacks` is what is wrong with the hook as a file, `profile` the AppArmor profile that libvirt
    is confined by, both "" for nothing. That kvmlund does not answer the hook is not found here.
    """
    if match := re.search(r"(?:^|\s)kvmlun: (.*)", told):
        line = match[1]
        if hookproto.REACHED in line or line.startswith("kvmlund "):
            return None
        return _finding(f"libvirt calls the hook, which fails: {line}", _REINSTALL)
    if _SAVED in told and _OTHER in told:
        if lacks:
            return _finding(f"{HOOK} {lacks}, so libvirt starts VMs without their LUNs", _REINSTALL)
        return _finding(
            f"libvirt runs without {HOOK}, which was not there when it looked for hooks, so it "
            "starts VMs without their LUNs",
            "systemctl reload libvirtd (or virtqemud)",
        )
    if HOOK not in told:
        raise errors.Storage(f"libvirt did not get as far as to a hook: {told}")
    if not re.search(rf"\b{_CANNOT_EXECUTE}\b", told):
        return _finding(f"libvirt calls the hook, which fails: {told}", _REINSTALL)
    if not profile:
        return _finding(f"libvirt can't execute the hook: {told}", _REINSTALL)
    return Finding(
        "apparmor",
        f"AppArmor's profile {profile} keeps libvirt from executing the hook, so no VM starts",
        remedy="journalctl -k | grep DENIED shows what is denied; allow it by a line in the "
        "profile's file in /etc/apparmor.d/local ( /usr/sbin/kvmlun-hook PUx, is what it takes as "
        "a rule), and load the profile with apparmor_parser -r",
    )


def _finding(cause: str, remedy: str) -> Finding:
    return Finding("hook", cause, remedy=remedy)
