"""Sizes for people."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def text(size: float) -> str:
    """Return a number of bytes in the binary unit that fits, with four digits at the most."""
    for unit in _UNITS:
        if size < 1024 or unit is _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.4g} {unit}"
