"""What kvmlund logs of a call on D-Bus: nothing of an error that is its answer."""

import logging

from dbus_next import DBusError

from kvmlun.bus.calls import is_no_answer


def logged(error):
    """Return the records of an error, in both ways in which dbus-next writes them."""
    logger, records = logging.Logger("bus"), []
    logger.addFilter(is_no_answer)
    logger.addFilter(lambda record: records.append(record) or False)
    try:
        raise error
    except type(error):
        logger.error("got unexpected error processing a message")
        logger.error("unexpected", exc_info=True)
    return records


def test_an_error_that_is_the_answer_is_not_logged():
    assert logged(DBusError("io.github.kvmlun.Error.Config", "told")) == []
    assert len(logged(RuntimeError("a bug"))) == 2
