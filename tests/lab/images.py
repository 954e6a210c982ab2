"""One root file system image a suite, cached by a hash of all that goes into it."""

import fcntl
import hashlib
import json
import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import commands, errors, guest, paths, processes, state, suites

log = logging.getLogger("kvmlun.lab")

SIZE = "6G"
MODULES = Path("/usr/lib/uml/modules")
FSTAB = "/dev/ubda / ext4 noinit_itable 0 0\n"
BUILD_TIMEOUT = 900


def image(suite: suites.Suite) -> Path:
    """The suite's image; builds it, and waits for another build, when it is not in the cache."""
    with locked_cache() as cache:
        wanted = cache / f"{suite.name}-{fingerprint(suite)}.img"
        if not wanted.exists():
            log.info("%s: building the host image", suite.name)
            build(suite, wanted)
            prune(suite, wanted)
            log.info("%s: image %s is ready", suite.name, wanted.name)
        return wanted


@contextmanager
def locked_cache() -> Iterator[Path]:
    cache = paths.cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def ssh_key() -> Path:
    """The one key of all labs of this cache: from here to the hosts and between them."""
    key = paths.cache() / "id_ed25519"
    if not key.exists():
        temporary = key.with_name(f"key.{os.getpid()}")
        options = ("-q", "-t", "ed25519", "-N", "", "-C", "lab")
        commands.run(["ssh-keygen", *options, "-f", str(temporary)])
        Path(f"{temporary}.pub").rename(f"{key}.pub")
        temporary.rename(key)
    return key


def fingerprint(suite: suites.Suite) -> str:
    digest = hashlib.sha256()
    uml = commands.run(["dpkg-query", "-W", "-f", "${Version}", "user-mode-linux"])
    guests = guest.build(paths.cache()).kernel.parent.name  # a digest of what is in it
    recipe = [uml, guests, suite.packages, suite.sources, suite.preferences, suites.MASKED]
    digest.update(json.dumps(recipe).encode())
    for path in (Path(__file__), ssh_key(), *sorted(paths.OVERLAY.rglob("*"))):
        if path.is_file():
            digest.update(f"{path.name} {path.stat().st_mode:o}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def build(suite: suites.Suite, wanted: Path) -> None:
    clean_up()
    work = paths.cache() / "build"
    work.mkdir()
    try:
        root = work / "root"
        bootstrap(suite, root)
        log.info("%s: making the file system", suite.name)
        customize(root)
        made = work / "image"
        commands.run(
            ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", str(root), str(made), SIZE],
            timeout=BUILD_TIMEOUT,
        )
        made.chmod(0o444)
        made.rename(wanted)
    finally:
        clean_up()


def bootstrap(suite: suites.Suite, root: Path) -> None:
    # Its mounts, /dev/shm of this machine among them, are to end with it when it is killed.
    argv = ["unshare", "--mount", "--propagation", "private", "--"]
    argv += ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory"]
    argv += ['--aptopt=Acquire::Languages "none"', f"--include={','.join(suite.packages)}"]
    if suite.preferences:
        file = '"$1/etc/apt/preferences.d/backports"'
        text = shlex.quote(suite.preferences)
        argv += [f'--setup-hook=mkdir -p "$1/etc/apt/preferences.d"; printf %s {text} >{file}']
    argv += [suite.name, str(root), *suite.sources]
    output = paths.cache() / "build" / "log"
    with output.open("wb") as file:
        # A session of its own: whoever cleans up finds all of it, whatever became of us.
        builder = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=commands.ENVIRONMENT,
            start_new_session=True,
        )
        mark = [builder.pid, processes.start_time(builder.pid)]
        (paths.cache() / "build" / "session").write_text(json.dumps(mark))
        status = builder.wait(BUILD_TIMEOUT)
    if status != 0:
        tail = output.read_text(errors="replace").splitlines()[-15:]
        raise errors.LabError("\n".join([f"{suite.name}: mmdebstrap exit {status}:", *tail]))


def customize(root: Path) -> None:
    (root / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)
    shutil.copytree(paths.OVERLAY, root, dirs_exist_ok=True, symlinks=True)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "etc/machine-id").write_text("")
    (root / "etc/hosts").write_text(hosts_file())
    units = root / "etc/systemd/system"
    link(units / "sysinit.target.wants/lab-host.service", "/etc/systemd/system/lab-host.service")
    link(units / "default.target", "/lib/systemd/system/multi-user.target")
    for unit in suites.MASKED:
        link(units / unit, "/dev/null")
    for folder in ("etc/target/pr", "var/target/pr", "etc/rtslib-fb-target"):
        # Without its pr folder LIO answers the first REGISTER with "Device not ready".
        (root / folder).mkdir(parents=True, exist_ok=True)
    install_key(root / "root/.ssh")
    install_modules(root)
    install_guest(root)
    for folder in ("etc", "var"):
        # Newer than /usr: nothing is to be brought up to date at the first boot.
        (root / folder / ".updated").touch()


def hosts_file() -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"10.77.0.{n} san{n}" for n in range(1, 10)]
    lines += [f"10.77.0.{10 + n} kvm{n}" for n in range(1, 10)]
    return "\n".join(lines) + "\n"


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def install_key(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    key = ssh_key()
    public = Path(f"{key}.pub").read_text()
    for name, text in (("id_ed25519", key.read_text()), ("authorized_keys", public)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def install_modules(root: Path) -> None:
    (version,) = MODULES.iterdir()
    shutil.copytree(version, root / "usr/lib/modules" / version.name, symlinks=True)
    commands.run(["depmod", "-b", str(root), version.name])


def install_guest(root: Path) -> None:
    built = guest.build(paths.cache())
    for file, path in ((built.kernel, guest.KERNEL), (built.initrd, guest.INITRD)):
        (root / path[1:]).parent.mkdir(exist_ok=True)
        shutil.copy(file, root / path[1:])


def clean_up_abandoned() -> None:
    """Remove what a build left whose process was killed; a build that goes on keeps the lock."""
    if not paths.cache().exists():
        return
    with (paths.cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        clean_up()


def clean_up() -> None:
    """End the build, ours or one that was killed, and remove what it left."""
    work = paths.cache() / "build"
    try:
        session, started = json.loads((work / "session").read_text())
    except (OSError, ValueError):
        session = 0
    # The leader may be gone before its children; another process of that pid is not ours.
    if session and processes.start_time(session) in ("", started):
        processes.kill_all("the image build", lambda: processes.of_session(session))
    if work.exists():
        remove_tree(work)


def remove_tree(folder: Path) -> None:
    """Like rmtree, but never into another file system."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    below = [m for m in (line.split()[4] for line in mounts) if m.startswith(f"{folder}/")]
    if below:
        raise errors.LabError(f"not removed, still mounted: {' '.join(below)}")
    shutil.rmtree(folder)


def prune(suite: suites.Suite, keep: Path) -> None:
    used = {host.image for lab in state.labs() for host in lab.hosts}
    for old in paths.cache().glob(f"{suite.name}-*.img"):
        if old != keep and str(old) not in used:
            old.unlink()
