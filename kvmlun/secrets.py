"""CHAP credentials: files that only root can read, or systemd credentials of kvmlund.

A secret is read when it is used, so that a new one counts from the next login on. Neither an
error nor a repr shows more of it than its name.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from . import errors

FOLDER = Path("/etc/kvmlun/secrets")
CREDENTIAL = "kvmlun.{name}"  # systemd.exec(5), LoadCredential=
_KEYS = ("username", "password", "username_in", "password_in")
_MEANING = {
    errno.ENOENT: "is not there, and kvmlund has no systemd credential of that name",
    errno.ELOOP: "is a symbolic link; the secret must be in a file itself",
}
# open-iscsi's setting for a login without any.
NONE = {"node.session.auth.authmethod": "None"}
_LENGTH = 255  # open-iscsi usr/auth.h, AUTH_STR_MAX_LEN with its end


@dataclass(frozen=True, repr=False)
class Chap:
    """Credentials of the initiator, and (mutual CHAP) those that the target has to show."""

    username: str
    password: str
    username_in: str = ""
    password_in: str = ""

    def __repr__(self) -> str:
        return f"Chap(username={self.username!r})"

    def node_record(self) -> dict[str, str]:
        """Return open-iscsi's settings for it."""
        given = {key: getattr(self, key) for key in _KEYS if getattr(self, key)}
        return {
            "node.session.auth.authmethod": "CHAP",
            **{f"node.session.auth.{key}": value for key, value in given.items()},
        }


def load(name: str, folder: Path = FOLDER, credentials: Path | None = None) -> Chap:
    """Read the secret `name`; a systemd credential comes before the file.

    Raises errors.Config for a secret that is missing, that others may read, or that is malformed.
    """
    if credentials is None and (given := os.environ.get("CREDENTIALS_DIRECTORY")):
        credentials = Path(given)
    file = folder / name
    if credentials and (credentials / CREDENTIAL.format(name=name)).exists():
        return _parse(_read(credentials / CREDENTIAL.format(name=name)), file)
    return _parse(_read(file, private=True), file)


def _read(file: Path, private: bool = False) -> str:
    try:
        # Judged by what was opened, which nobody can exchange any more.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as opened:
            found = os.fstat(descriptor)
            if private and not stat.S_ISREG(found.st_mode):
                raise errors.Config(f"{file}: is no regular file")
            if private and found.st_uid != os.geteuid():
                raise errors.Config(f"{file}: belongs to user {found.st_uid}; chown root {file}")
            if private and found.st_mode & 0o077:
                mode = stat.S_IMODE(found.st_mode)
                raise errors.Config(f"{file}: mode {mode:04o} lets others at it; chmod 600 {file}")
            return opened.read()
    except UnicodeDecodeError:
        raise errors.Config(f"{file}: is no text") from None
    except OSError as error:
        raise errors.Config(f"{file}: {_MEANING.get(error.errno or 0, error.strerror)}") from None


def _parse(text: str, file: Path) -> Chap:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals or key not in _KEYS:
            # Not quoted: it may be the secret itself.
            raise errors.Config(
                f"{file}:{number}: is none of {', '.join(_KEYS)} with = and a value"
            )
        if key in values:
            raise errors.Config(f"{file}:{number}: {key}: is given twice")
        if not value or len(value.encode()) > _LENGTH or not value.isprintable():
            raise errors.Config(
                f"{file}:{number}: {key}: must be 1 to {_LENGTH} bytes that can be printed"
            )
        values[key] = value
    for first, second in (("username", "password"), ("username_in", "password_in")):
        if (first in values) != (second in values) or "username" not in values:
            raise errors.Config(f"{file}: {first} and {second} belong together")
    if values["password"] == values.get("password_in"):
        # RFC 7143, 9.2.1: a target that knows only one of them could show the other.
        raise errors.Config(f"{file}: password and password_in must not be the same")
    return Chap(**values)
