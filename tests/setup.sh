# shellcheck shell=sh
# Sourced by the commands beside it: goes to the checkout and installs what they need.
cd "$(dirname "$0")/.." || exit
if [ "$(id -u)" != 0 ]; then
    echo "$0: must be run as root (network namespaces, packages)" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1
# Debian's own interpreter, whatever else is first in PATH: the packages it needs are Debian's.
python=/usr/bin/python3
apt-get update -q >/dev/null
[ -x "$python" ] || apt-get install -q -y --no-install-recommends python3
"$python" -m tests.lab setup
