import os
from pathlib import Path

RUN = Path("/run/kvmlun-lab")
OVERLAY = Path(__file__).parent / "overlay"


def cache() -> Path:
    return Path(os.environ.get("KVMLUN_LAB_CACHE", "/var/cache/kvmlun-lab"))
