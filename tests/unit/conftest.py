"""How pytest shows the unit tests."""


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep a value that nobody can read out of a test's name."""
    return "long" if isinstance(val, str | bytes) and len(val) > 200 else None
