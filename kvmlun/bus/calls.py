"""How methods are called and answer: with a result, or with an error by name."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

from dbus_next import DBusError
from dbus_next.service import method

from .. import errors, events, names
from . import access

log = logging.getLogger("kvmlun.dbus")


def call(*takes: str, gives: str = "", action: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Make a D-Bus method of what it decorates, plain or async.

    `takes` are the signatures of its arguments, `gives` that of its result. Only root and whom
    polkit grants the `action` may call it, and the object's acted() is called before it answers.
    """

    def decorator(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        async def answer(*args: Any) -> Any:
            try:
                with events.about(operation=function.__name__):
                    if action:
                        await access.check(action)
                    log.debug("%s is called", function.__name__)
                    try:
                        result = function(*args)
                        return await result if inspect.isawaitable(result) else result
                    finally:
                        if action:
                            args[0].acted()
            except DBusError:
                raise
            except errors.Error as error:
                raise DBusError(names.ERROR + error.name, str(error)) from error
            except Exception as error:
                log.exception("D-Bus method failed")
                raise DBusError(names.ERROR + "Internal", errors.INTERNAL) from error

        # dbus-next takes annotations for signatures.
        own, *parameters = inspect.signature(function).parameters.values()
        signed = [
            parameter.replace(annotation=signature)
            for parameter, signature in zip(parameters, takes, strict=True)
        ]
        vars(answer)["__signature__"] = inspect.Signature([own, *signed], return_annotation=gives)
        vars(answer)["action"] = action
        return method()(answer)

    return decorator


def quiet_answers() -> None:
    """dbus-next logs a traceback for each error that a method answers with on purpose."""
    for logger in (logging.getLogger(), logging.getLogger("asyncio")):
        logger.addFilter(is_no_answer)


def is_no_answer(record: logging.LogRecord) -> bool:
    # Where it calls a method it puts the traceback into the text.
    failure = record.exc_info[1] if record.exc_info else sys.exc_info()[1]
    return not isinstance(failure, DBusError)
