"""Sessions: logging in to the portals of a LUN, once for all who ask at the same time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from . import errors, events, iscsi, libiscsi, loginprobe, nodedb, secrets, sessionauth, sysfs
from .config import Config
from .ledger import Entry, Ledger
from .links import BY_PATH
from .lun import Lun, Portal
from .request import Request
from .steps import step
from .sysfs import Session
from .tally import Tally
from .wait import Changes, Deadline, enough, turn, within

log = logging.getLogger("kvmlun.login")

# How often a state without an event of its own (a session's) is looked at while it is waited for.
_POLL_SECONDS = 0.05
# For more portals than a VM's start has to wait for.
OTHERS_SECONDS = 2.0
_RENEW_SECONDS = 60.0


class Logins:
    """Logs in. All methods raise errors.Error.

    `forget` removes our node record of an entry without a session, and the entry.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        ledger: Ledger,
        changes: Changes,
        forget: Callable[[Entry], Awaitable[None]],
        tally: Tally,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._changes = changes
        self._forget = forget
        self._tally = tally
        self._locks: dict[str, asyncio.Lock] = {}
        self._logins: dict[tuple[str, Portal], asyncio.Task[None]] = {}
        self._born = time.monotonic(), time.time()
        self._silent: dict[Portal, float] = {}  # since when (monotonic) a portal does not answer

    def lock(self, target: str, deadline: Deadline) -> AbstractAsyncContextManager[None]:
        """Hold the lock that login and logout of `target` share; raises errors.Timeout."""
        lock = self._locks.setdefault(target, asyncio.Lock())
        return turn(lock, f"another login or logout of {target}", deadline)

    @property
    def logging_in(self) -> frozenset[str]:
        """Targets with a login under way, also one that its hook no longer waits for."""
        under_way = {target for target, _ in self._logins}
        orphans = {entry.target for entry in self._ledger.entries if not entry.sid} - under_way
        if orphans and self._orphans_go_on():
            under_way |= orphans
        return frozenset(under_way)

    def _orphans_go_on(self) -> bool:
        """Tell whether iscsid may still do what a daemon before this one asked for."""
        monotonic, epoch = self._born
        settings = self._config().settings
        # iscsid's own limit, and some for iscsiadm.
        limit = settings.login * settings.login_attempts + 20
        if time.monotonic() < monotonic + limit:
            return True
        return any(began <= epoch for began in nodedb.started("iscsiadm"))

    async def session(self, request: Request, deadline: Deadline) -> Session:
        """Have a session to one portal of the LUN, the first that lets this host in."""
        existing = candidates(request, await self._staying(request, deadline))
        if existing:
            return await self.logged_in(request, deadline, "to be logged in")
        problems: list[errors.Storage] = []
        for portal in request.lun.portals:
            try:
                await self._login(request, portal, deadline)
                return await self.logged_in(request, deadline, f"at {portal} after login")
            except errors.Timeout as error:
                if not problems:
                    raise
                problems.append(error)
                break
            except errors.Storage as error:
                problems.append(error)
        raise _together(request, problems)

    async def sessions(self, request: Request, deadline: Deadline) -> list[Session]:
        """Have sessions to all portals of the LUN, logged in side by side.

        Once `min_paths` are there the others have a moment left: a portal that is dead must not
        hold up a VM. Their logins go on, and what they bring is found later.
        """
        wanted, target = request.lun.min_paths, request.lun.address.target

        def up() -> list[Session]:
            return [s for s in candidates(request, sysfs.sessions()) if s.up]

        staying = await self._staying(request, deadline)
        known = [s for s in staying if s.target == target and s.serves(request.lun.portals)]
        missing = sysfs.unserved(request.lun.portals, known)
        made, problems = await enough(
            [self._login(request, portal, deadline) for portal in missing],
            max(wanted - len(up()), 0),
            OTHERS_SECONDS,
        )
        storage = [problem for problem in problems if isinstance(problem, errors.Storage)]
        for problem in problems:
            if problem not in storage:
                raise problem
        if max(len(made) + len(known), len(up())) < wanted:
            raise _together(request, storage)
        what = f"{request}: waiting for {wanted} sessions of {target}"
        return await self._changes.until(
            lambda: found if len(found := up()) >= wanted else None, deadline, what, _POLL_SECONDS
        )

    async def _staying(self, request: Request, deadline: Deadline) -> tuple[Session, ...]:
        """Return the sessions, once those to the target have ended whose end was asked for."""
        sessions, target = sysfs.sessions(), request.lun.address.target
        ending = [s.sid for s in sessions if s.target == target and self._ledger.is_ending(s)]
        for sid in ending:
            await self._ended(request, sid, deadline)
        return sysfs.sessions() if ending else sessions

    async def _ended(self, request: Request, sid: int, deadline: Deadline) -> None:
        what = f"{request}: the end of session {sid}, which was asked for before,"
        asked = asyncio.ensure_future(iscsi.logout(sid))
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await within(asyncio.shield(asked), deadline.left)
        except TimeoutError:
            raise errors.Timeout(f"{what} took too long; does iscsid answer?") from None
        await self._changes.until(lambda: sysfs.session(sid) is None, deadline, what, _POLL_SECONDS)

    async def logged_in(self, request: Request, deadline: Deadline, state: str) -> Session:
        def up() -> Session | None:
            return _usable(request, sysfs.sessions())

        what = f"{request}: waiting for the session of {request.lun.address.target} {state}"
        return await self._changes.until(up, deadline, what, _POLL_SECONDS)

    async def _login(self, request: Request, portal: Portal, deadline: Deadline) -> None:
        target = request.lun.address.target
        key = target, portal
        if not deadline.left:
            raise errors.Timeout(f"{request}: no time was left to log in to {target} at {portal}")
        if key not in self._logins:
            task = asyncio.ensure_future(self._counted(target, portal, request.lun.secret))
            self._logins[key] = task
            task.add_done_callback(lambda _: self._login_done(key))
        try:
            with step(f"login to {target} at {portal}"):
                await within(asyncio.shield(self._logins[key]), deadline.left)
        except TimeoutError:
            raise errors.Timeout(
                f"{request}: login to {target} at {portal} took too long"
            ) from None

    def _login_done(self, key: tuple[str, Portal]) -> None:
        task = self._logins.pop(key)
        if not task.cancelled() and (error := task.exception()):
            log.warning("login: %s", error, extra=events.LOGIN_FAILED())
        self._changes.signal()

    async def renew(self, luns: Iterable[Lun]) -> None:
        """Put today's secrets into the node records of our sessions, and into the sessions.

        Raises errors.Storage, at its end, for all where that failed. A secret that the target
        refuses goes nowhere: a session could never come back with it. iscsid takes the new ones
        over when it starts; until then it reconnects with what it logged in with.
        """
        problems = []
        for known in luns:
            try:
                if known.secret:
                    await self._renew(known, known.secret)
            except errors.Error as problem:
                problems.append(str(problem))
        if problems:
            raise errors.Storage("; ".join(problems))

    async def _renew(self, known: Lun, secret: str) -> None:
        target = known.address.target
        chap = secrets.load(secret)
        record = {**self._config().settings.node_record(), **chap.node_record()}
        problems = []
        trial = libiscsi.Initiator(loginprobe.initiator(), chap)
        async with self.lock(target, Deadline(_RENEW_SECONDS)):
            for session in sysfs.sessions():
                portal = session.portal
                if not portal or session.target != target or portal.address not in known.addresses:
                    continue
                if not (self._ledger.owns(session) and nodedb.may_write(target, portal)):
                    continue
                try:
                    changed = sessionauth.differences(session.sid, chap)
                    if changed:
                        await asyncio.to_thread(trial.try_login, portal, target)
                    group = nodedb.group(target, portal)
                    await asyncio.to_thread(nodedb.write, target, portal, record, group)
                    if changed:
                        await asyncio.to_thread(sessionauth.put, session.sid, chap)
                        log.warning(
                            "session %d to %s reconnects with the new secret %s after: "
                            "systemctl restart iscsid", session.sid, target, secret,
                            extra=events.SECRET_WAITS(),
                        )  # fmt: skip
                except errors.Error as problem:
                    problems.append(f"session {session.sid} keeps its secret: {problem}")
        if problems:
            raise errors.Storage("; ".join(problems))

    def _node_record(self, portal: Portal, secret: str | None) -> dict[str, str]:
        config, auth = self._config(), {}
        if secret:
            auth = secrets.load(secret).node_record()
        elif not config.names(portal):
            # A portal that only a VM's metadata or link names: the host's own secret, in
            # iscsid.conf, is not for whoever listens there.
            auth = secrets.NONE
        return {**config.settings.node_record(), **auth}

    async def _counted(self, target: str, portal: Portal, secret: str | None) -> None:
        with self._tally.login():
            await self._log_in(target, portal, secret)

    async def _log_in(self, target: str, portal: Portal, secret: str | None) -> None:
        record = self._node_record(portal, secret)
        silence = self._config().settings.silence
        if time.monotonic() - self._silent.get(portal, -math.inf) < silence:
            await iscsi.probe(target, portal)
        ours = nodedb.may_write(target, portal)
        self._ledger.intend(target, portal)
        try:
            if ours:
                group = await self._group(target, portal)
                await asyncio.to_thread(nodedb.write, target, portal, record, group)
            await iscsi.login(target, portal, secret or "")
        except errors.Timeout:
            # The database stayed locked, so nothing was begun and the entry can't go now either.
            raise
        except errors.Storage as error:
            if isinstance(error, errors.NoAnswer):
                self._silent[portal] = time.monotonic()
            entry = self._ledger.find(target, portal)
            if not self._made(target, portal) and entry:
                await self._forget(entry)
            raise
        self._silent.pop(portal, None)
        self._made(target, portal)
        log.info("logged in to %s at %s", target, portal, extra=events.LOGGED_IN())

    async def _group(self, target: str, portal: Portal) -> int | None:
        """Return the portal group for a new record, None where it needs none."""
        group = nodedb.group(target, portal)
        return await iscsi.group(target, portal) if group is None and portal.iface else group

    def _made(self, target: str, portal: Portal) -> bool:
        """Note the session that a login has made; tell whether there is one."""
        session = next((s for s in sysfs.sessions() if s.key == (target, portal)), None)
        if session:
            self._ledger.made(session)
        return session is not None


def _together(request: Request, problems: Sequence[errors.Storage]) -> errors.Storage:
    """Return one error for what every portal said."""
    kinds = (errors.NoAnswer, errors.Timeout)
    silent = all(isinstance(problem, kinds) for problem in problems)
    kind = errors.NoAnswer if silent else errors.Storage
    return kind(f"{request}: {'; '.join(map(str, problems))}")


def candidates(request: Request, sessions: tuple[Session, ...]) -> list[Session]:
    """Sessions that lead to the LUN: the listed portals first, a foreign one only for by-id.

    Where the operator names ifaces, a session by another one is none of them.
    """
    wanted = request.lun
    same = [session for session in sessions if session.target == wanted.address.target]
    listed = [session for session in same if session.serves(wanted.portals)]
    only = listed or wanted.ifaces or request.link.startswith(BY_PATH)
    return listed if only else same


def _usable(request: Request, sessions: tuple[Session, ...]) -> Session | None:
    return next((session for session in candidates(request, sessions) if session.up), None)
