"""The only place that starts processes on this machine to wait for them."""

import os
import subprocess
from collections.abc import Sequence

from tests.lab import errors

ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if k in ("HOME", "TERM", "http_proxy", "https_proxy")},
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


def run(argv: Sequence[str], check: bool = True, timeout: float = 60) -> str:
    """Return stdout; a failure is a LabError that ends with the command's last stderr line."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=timeout,
    )
    if check and done.returncode != 0:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise errors.LabError(f"{' '.join(argv)}: exit {done.returncode}: {last}")
    return done.stdout
