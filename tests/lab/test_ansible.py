"""The Ansible role on a host that has no kvmlun yet."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests import tools
from tests.lab import doctor, machine, package
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "the role installs kvmlun"
ROLE = package.ROOT / "contrib/ansible"


@pytest.mark.campaign
def test_a_host_from_nothing(s: Stage, tmp_path: Path) -> None:
    """It installs, and doctor finds nothing; a second run, and a mistake, change nothing."""
    host, volume = s.kvms[0], s.volume("vm1")
    where = {"wwid": volume.wwid, "target": volume.iqn, "portals": list(volume.portals)}
    given = {
        "kvmlun_package": str(package.build()),
        "kvmlun_volumes": {"vm1-root": where},
        "kvmlun_settings": {"grace": 3},
    }
    with doctor.configuration_kept(host):
        s.peer.remove(host)
        try:
            code, told = play(host, tmp_path, given)
            assert code == 0 and changed(told) > 0, told
            assert host.run("kvmlun doctor").out == "nothing found\n"
            vm = s.vm("vm1", [volume], known_on=[])
            vm.start(host)
            vm.destroy(host)
            code, told = play(host, tmp_path, given)
            assert code == 0 and changed(told) == 0, told
            mistaken = {**given, "kvmlun_volumes": {"vm1-root": {**where, "lnu": 1}}}
            code, told = play(host, tmp_path, mistaken)
            assert code != 0 and "unknown key" in told, told
            assert volume.wwid in host.run("kvmlun volume show vm1-root").out
            host.run("kvmlun check")
        finally:
            s.peer.remove(host)
            s.peer.install(host)


def play(host: machine.Machine, folder: Path, variables: dict[str, object]) -> tuple[int, str]:
    """Apply the role; return Ansible's exit code and what it told."""
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shlex.join(host.connection.namespace.enter)} ssh "$@"\n')
    ssh.chmod(0o755)
    options = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    reached = {
        "ansible_host": host.connection.address,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_executable": str(ssh),
        "ansible_ssh_private_key_file": str(host.connection.key),
        "ansible_ssh_common_args": options,
        "ansible_ssh_transfer_method": "piped",
        **variables,
    }
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {host.name: reached}}}))
    done = subprocess.run(
        [tools.program("ansible-playbook"), "-i", hosts, ROLE / "site.yml"],
        env={
            **os.environ,
            "ANSIBLE_HOME": str(folder),
            "ANSIBLE_ROLES_PATH": str(ROLE / "roles"),
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def changed(told: str) -> int:
    """Return the number in Ansible's last line for the host."""
    (number,) = re.findall(r"changed=(\d+)", told)
    return int(number)
