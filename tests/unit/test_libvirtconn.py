"""Whether there is a libvirt to list domains."""

from kvmlun.libvirtconn import is_absent


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
