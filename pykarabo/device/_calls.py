"""The calls that come to one process: who may make them, what works on them, their answers."""

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pykarabo.errors import (
    ExpiredError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    RemoteError,
    VersionMismatchError,
)
from pykarabo.transport import (
    Caller,
    Clock,
    Connection,
    Delivery,
    TaskOwner,
    Transport,
    called_by,
    deadline,
)
from pykarabo.wire import (
    ENOUGH,
    Answer,
    CancelCall,
    Execute,
    Frame,
    OnceMemory,
    Outcome,
    ServerSessions,
    Took,
    Welcome,
    bundled,
    is_bundle,
    unbundled,
)

from ._answers import Answers, needs_waiting
from ._attempt import Attempt
from ._auditing import Audit
from ._in_time import require_time
from ._rights import Rights
from ._room import AnswerRoom


class CallHost:
    """Takes calls, has them worked on, and sends their answers.

    Args:
        tasks: whose tasks work on what needs waiting.
        answers: knows what to do with a request.
        audit: is told of writes and commands, and how they ended.
        welcome: who is called here.
        rights: tells what whoever greets may do.

    Attributes:
        router: where calls come in.
        sessions: who has greeted.
        slow_clients: how often a client did not take its answers, and was forgotten.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        tasks: TaskOwner,
        answers: Answers,
        *,
        audit: Audit,
        welcome: Welcome,
        rights: Rights,
    ) -> None:
        self.router = transport.bind_router("rpc", self._received, ended=self._connection_ended)
        self.sessions = ServerSessions(
            welcome, grant=lambda hello: rights(hello, self.router.sender)
        )
        self.slow_clients = 0
        self._clock = clock
        self._tasks = tasks
        self._answers = answers
        self._audit = audit
        self._room = AnswerRoom(self.sessions, clock)
        self._once = OnceMemory()
        self._running: dict[tuple[bytes, bytes], asyncio.Task[Any]] = {}
        # Those whose tasks have not begun: cancelled ones make room at once, not a turn later.
        self._not_begun: dict[tuple[bytes, bytes], Execute] = {}
        self._given_up: set[tuple[bytes, bytes]] = set()
        self._answers_of: dict[bytes, list[list[Frame]]] = {}
        self._peer_on: dict[int, bytes] = {}

    def forget_the_dead(self) -> None:
        """Forget clients that were killed and said no goodbye."""
        peers, frames = self.sessions.probe(self._clock.monotonic_ns())
        for peer in peers:
            if self.router.send(peer, frames) is Delivery.GONE:
                self.sessions.forget(peer)

    def forget(self, connection: Connection) -> None:
        """End the session on a connection: what it has called and has not begun is not run."""
        peer = self._peer_on.pop(connection.number, None)
        if peer is not None:
            self.sessions.forget(peer)
            self._room.took(peer)

    def _connection_ended(self, connection: Connection) -> None:
        self._peer_on.pop(connection.number, None)

    def close(self) -> None:
        """Take no more calls."""
        self.router.close()

    def _received(self, peer: bytes, frames: list[Frame]) -> None:
        if not is_bundle(frames):
            self._received_one(peer, frames)
            return
        try:
            messages = unbundled(frames)
        except (MalformedMessageError, LimitExceededError, VersionMismatchError):
            self.sessions.dropped += 1
            return
        self._answers_of[peer] = []
        try:
            for message in messages:
                self._received_one(peer, message)
        finally:
            self._deliver_all(peer, self._answers_of.pop(peer))

    def _received_one(self, peer: bytes, frames: list[Frame]) -> None:
        action = self.sessions.receive(
            peer, frames, now_ns=self._clock.monotonic_ns(), utc_ns=self._clock.time_ns()
        )
        if isinstance(action, Execute):
            self._execute(action)
        elif isinstance(action, Answer):
            self._answered(action)
        elif isinstance(action, CancelCall):
            self._cancel(action.peer, action.call_id)
        elif isinstance(action, Took):
            self._room.took(action.peer)

    def _cancel(self, peer: bytes, call_id: bytes) -> None:
        task = self._running.get((peer, call_id))
        if task is not None:
            task.cancel()
        call = self._not_begun.pop((peer, call_id), None)
        if call is not None:
            self.sessions.abandon(call)
            self._given_up.add((peer, call_id))
        twin = self._once.give_up(peer, call_id)
        if twin is not None:
            self.sessions.abandon(twin)

    def _answered(self, action: Answer) -> None:
        """Send what the session itself has answered."""
        if action.greeted:
            connection = self.router.identify()
            self._peer_on[connection.number] = action.peer
            self.sessions.identify(action.peer, connection.sender.user, connection.sender.address)
        if action.ended is not None:
            self._room.took(action.ended)  # what waits there is given up now
        if action.refused is not None and action.error is not None:
            self._audit.refused(action.refused, action.error)
        self._send(action.peer, action.frames)

    def _execute(self, call: Execute) -> None:
        if needs_waiting(call) or not self.sessions.has_room(call.peer):
            attempts = self._audit.began(call)
            if self._is_new(call, attempts):
                task = self._tasks.spawn(
                    self._run(call, attempts), name=type(call.request).__name__
                )
                self._running[call.peer, call.call_id] = task
                self._not_begun[call.peer, call.call_id] = call
                task.add_done_callback(lambda done: self._ran(call, attempts, done))
            return
        try:
            result, sequence = self._answers.now(call)
            frames = self.sessions.reply(call, result, sequence=sequence)
        except PykaraboError as error:
            frames = self.sessions.fail(call, error)
        self._send(call.peer, frames)

    def _is_new(self, call: Execute, attempts: Sequence[Attempt]) -> bool:
        """Answer a keyed call that was run before, or whose twin is running."""
        key = getattr(call.request, "once", None)
        if key is None:
            return True
        try:
            begun = self._once.begin(key, call, self._clock.monotonic_ns())
        except PykaraboError as error:
            begun = Outcome(error=error)
            _end(attempts, error)
        if begun is not True:
            for attempt in attempts:
                attempt.repeated()
        if isinstance(begun, Outcome):
            self._answer(call, begun)
            return False
        return begun

    async def _run(self, call: Execute, attempts: Sequence[Attempt]) -> None:
        outcome = Outcome()
        self._not_begun.pop((call.peer, call.call_id), None)
        try:
            await self._room.wait(call)
            caller = _caller_of(call)
            given_up = functools.partial(self.sessions.has_forgotten, call.peer)
            with deadline(call.deadline_ns, given_up), called_by(caller):
                require_time(self._clock)
                outcome.result, outcome.sequence = await self._answers.answer(call, attempts)
        except PykaraboError as error:
            outcome.error = error
        _end(attempts, outcome.error)
        for answered in [call, *self._twins(call, outcome)]:
            self._answer(answered, outcome)

    def _twins(self, call: Execute, outcome: Outcome) -> list[Execute]:
        """Note how a call ended; returns the repetitions of it that wait for the same answer."""
        key = getattr(call.request, "once", None)
        return self._once.end(key, outcome) if key is not None else []

    def _ran(self, call: Execute, attempts: Sequence[Attempt], task: asyncio.Task[None]) -> None:
        """Forget a call's task, and free what it held if it was cancelled before its first step."""
        key = call.peer, call.call_id
        self._running.pop(key, None)
        self._not_begun.pop(key, None)
        made_room = key in self._given_up
        self._given_up.discard(key)
        if task.cancelled():
            if not made_room:
                self.sessions.abandon(call)
            error = ExpiredError(
                "the call was cancelled before it began", remedy="nothing was executed: call again"
            )
            _end(attempts, error)
            outcome = Outcome(error=error)
            for twin in self._twins(call, outcome):
                self._answer(twin, outcome)
        elif (failure := task.exception()) is not None:
            _end(attempts, _failed(failure))

    def _answer(self, call: Execute, outcome: Outcome) -> None:
        if outcome.error is not None:
            frames = self.sessions.fail(call, outcome.error)
        else:
            try:
                frames = self.sessions.reply(call, outcome.result, sequence=outcome.sequence)
            except PykaraboError as error:
                frames = self.sessions.fail(call, error)
        self._send(call.peer, frames)

    def _send(self, peer: bytes, frames: list[Frame]) -> None:
        answers = self._answers_of.get(peer)
        if answers is None:
            self._deliver(peer, frames)
            return
        answers.append(frames)
        if len(answers) >= ENOUGH:
            self._answers_of[peer] = []
            self._deliver_all(peer, answers)

    def _deliver_all(self, peer: bytes, answers: list[list[Frame]]) -> None:
        for bundle in bundled(answers):
            self._deliver(peer, bundle)

    def _deliver(self, peer: bytes, frames: list[Frame]) -> None:
        delivery = self.router.send(peer, frames)
        if delivery is not Delivery.SENT:
            self.sessions.forget(peer)
            if delivery is Delivery.FULL:
                self.slow_clients += 1


def _caller_of(call: Execute) -> Caller:
    known = Caller.of(call.identity, getattr(call.request, "caller", None), call.role)
    return replace(known, granted=call.granted, address=call.address)


def _end(attempts: Sequence[Attempt], error: PykaraboError | None) -> None:
    """Tell the audit how those ended of which it is not known yet."""
    for attempt in attempts:
        attempt.ended(error)


def _failed(failure: BaseException) -> RemoteError:
    """Return the error for a call whose answer nobody has made."""
    return RemoteError(f"the server itself failed: {failure!r}", remedy="its log has the details")
