"""CHAP credentials: where they may be, who else may read them, and what never shows."""

import os

import pytest

from kvmlun import errors, secrets
from kvmlun.secrets import Chap

TEXT = "# for vm1\nusername = kvm1\npassword = S3cret-one-two\n"
MUTUAL = TEXT + "username_in = san\npassword_in = An0ther-secret\n"


def put(folder, text, mode=0o600, name="vm1"):
    file = folder / name
    file.write_text(text)
    file.chmod(mode)
    return file


def test_one_way_and_mutual(tmp_path):
    put(tmp_path, TEXT)
    assert secrets.load("vm1", tmp_path) == Chap("kvm1", "S3cret-one-two")
    put(tmp_path, MUTUAL)
    loaded = secrets.load("vm1", tmp_path)
    assert loaded.node_record() == {
        "node.session.auth.authmethod": "CHAP",
        "node.session.auth.username": "kvm1",
        "node.session.auth.password": "S3cret-one-two",
        "node.session.auth.username_in": "san",
        "node.session.auth.password_in": "An0ther-secret",
    }
    assert "cret" not in repr(loaded)


def test_a_systemd_credential_comes_first(tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    put(tmp_path, TEXT)
    # systemd's own folder is closed to others; its files need not be.
    put(credentials, TEXT.replace("kvm1", "of-systemd"), 0o440, "kvmlun.vm1")
    assert secrets.load("vm1", tmp_path, credentials).username == "of-systemd"
    (credentials / "kvmlun.vm1").unlink()
    assert secrets.load("vm1", tmp_path, credentials).username == "kvm1"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_reach_is_refused(tmp_path, mode):
    file = put(tmp_path, TEXT, mode)
    with pytest.raises(errors.Config, match=f"{file}: mode {mode:04o} .*chmod 600"):
        secrets.load("vm1", tmp_path)


def test_a_link_a_folder_and_another_owner_are_refused(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(put(tmp_path, TEXT))
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "none"):
        with pytest.raises(errors.Config, match=f"{tmp_path}/{name}: "):
            secrets.load(name, tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(errors.Config, match="chown root"):
        secrets.load("vm1", tmp_path)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("username = a\n", "username and password belong together"),
        ("", "username and password belong together"),
        (TEXT + "username_in = san\n", "username_in and password_in belong together"),
        (TEXT + TEXT, ":5: username: is given twice"),
        ("username = kvm1\nS3cret\n", ":2: is none of username"),
        ("S3cret = kvm1\n", ":1: is none of username"),
        (TEXT.replace("S3cret-one-two", ""), ":3: password: must be 1 to 255"),
        (TEXT.replace("S3cret", "S3cret" * 99), ":3: password: must be 1 to 255"),
        (TEXT + "username_in = san\npassword_in = S3cret-one-two\n", "must not be the same"),
    ],
)
def test_a_mistake_is_told_without_the_secret(tmp_path, text, problem):
    file = put(tmp_path, text)
    with pytest.raises(errors.Config) as told:
        secrets.load("vm1", tmp_path)
    assert str(told.value).startswith(str(file)) and problem in str(told.value)
    assert "S3cret" not in str(told.value)
