"""Makes the pictures in docs/pictures of their sources: ``python3 -m tests.pictures``.

Needs graphviz and mscgen. Where letters are of another width a picture comes out a little
different, so what tells whether one is current is the digest of its source, in its last line.
"""

import hashlib
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs/pictures"
PROGRAMS = {".dot": ("dot", "-Tsvg"), ".msc": ("mscgen", "-T", "svg", "-o", "-", "-i", "-")}


def sources() -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path.suffix in PROGRAMS)


def picture(source: Path) -> Path:
    return source.with_suffix(".svg")


def is_current(source: Path) -> bool:
    made = picture(source)
    return made.exists() and made.read_text(encoding="utf-8").endswith(_mark(source))


def _mark(source: Path) -> str:
    digest = hashlib.sha256(repr(PROGRAMS[source.suffix]).encode() + source.read_bytes())
    return f"<!-- made of {source.name}, sha256 {digest.hexdigest()} -->\n"


def main() -> None:
    for source in sources():
        argv = PROGRAMS[source.suffix]
        made = subprocess.run(argv, input=source.read_bytes(), stdout=subprocess.PIPE, check=True)
        picture(source).write_bytes(made.stdout + _mark(source).encode())


if __name__ == "__main__":
    main()
