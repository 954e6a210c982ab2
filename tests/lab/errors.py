class LabError(Exception):
    """The lab itself cannot do what it was asked to; one line that says why."""
