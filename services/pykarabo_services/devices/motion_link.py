"""The connection to a motion controller: lines of text over TCP, one question at a time.

======================  ========================================================================
question                answer
======================  ========================================================================
``ID?``                 name and firmware of the controller
``TEMP?``               temperature of its drives in °C
``AX? 1``               ``steps,steps_per_s,flags`` of an axis, all three integers; see `AxisFlag`
``MOVE 1 -2000``        ``OK``: the axis has begun to move to that many steps
``HOME 1``              ``OK``: it has begun to look for its reference
``STOP 1``              ``OK``: it decelerates
``VEL 1 5000``          ``OK``: next moves go at so many steps/s
``CLEAR 1``             ``OK``: a fault of the drive is cleared
anything refused        ``ERR code text``; nothing was done
======================  ========================================================================
"""

import asyncio
import contextlib
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from pykarabo.errors import (
    MalformedMessageError,
    NotConnectedError,
    OutOfRangeError,
    PykaraboError,
    RemoteError,
    StateForbidsError,
)

_LONGEST_LINE: Final = 256
"""Bytes; the controller never sends more, so more is no answer of its."""
_REFUSALS: Final[Mapping[int, tuple[type[PykaraboError], str]]] = {
    2: (StateForbidsError, "wait until the axis is at rest, or stop it"),
    3: (OutOfRangeError, "choose a target within the travel"),
    4: (StateForbidsError, "home the axis first"),
    5: (StateForbidsError, "find out why the drive tripped, then call reset"),
}
"""By error code of the controller: what it means to the caller, and what to do."""


class AxisFlag(IntFlag):
    """What the controller tells of an axis."""

    MOVING = 1
    HOMING = 2
    HOMED = 4
    LOW_SWITCH = 8
    HIGH_SWITCH = 16
    FAULT = 32


@dataclass(frozen=True, slots=True)
class AxisReading:
    """An axis at one moment, in steps and steps/s."""

    steps: int
    velocity: int
    flags: AxisFlag


class ControllerLink:
    """A connection that is either in step with the controller or closed.

    After a failure nobody knows which answer belongs to which question, so every failure closes
    the connection; open it again.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float) -> None:
        self._address = f"{host}:{port}"
        self._host, self._port = host, port
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect.

        Raises:
            NotConnectedError: nobody answers there.
        """
        self.close()
        try:
            async with asyncio.timeout(self._timeout_s):
                self._streams = await asyncio.open_connection(
                    self._host, self._port, limit=_LONGEST_LINE
                )
        except OSError as error:  # of which TimeoutError is one
            reason = str(error) or "no answer"
            raise NotConnectedError(
                f"the controller at {self._address} cannot be reached: {reason}",
                remedy="check its power and network, and the properties host and port",
            ) from None

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, question: str) -> str:
        """Return the answer to a question.

        Raises:
            StateForbidsError: there is no connection, nothing was sent; or the controller refused.
            OutOfRangeError: the controller refused it.
            RemoteError: it was sent, and no answer came that says what became of it.
        """
        async with self._turn:
            if self._streams is None:
                raise StateForbidsError(
                    f"there is no connection to the controller at {self._address}; "
                    "nothing was sent",
                    remedy="wait until it is back; the device's status tells why it is not",
                )
            reader, writer = self._streams
            try:
                async with asyncio.timeout(self._timeout_s):
                    writer.write(f"{question}\n".encode())
                    await writer.drain()
                    answer = await reader.readuntil(b"\n")
            except BaseException as error:
                self.close()
                if isinstance(error, OSError | EOFError | asyncio.LimitOverrunError):
                    raise self._lost(question, error) from None
                raise
        return self._understood(question, answer)

    def _lost(self, question: str, error: Exception) -> RemoteError:
        reason = "it took too long" if isinstance(error, TimeoutError) else str(error)
        return RemoteError(
            f"the controller at {self._address} did not answer '{question}': {reason}",
            remedy="look at the axis before you ask again: it may have obeyed",
        )

    def _understood(self, question: str, answer: bytes) -> str:
        text = answer.decode("ascii", errors="replace").strip()
        if not text.startswith("ERR"):
            return text
        _err, code, reason = [*text.split(" ", 2), "", ""][:3]
        number = int(code) if code.isdigit() else 0
        error, remedy = _REFUSALS.get(number, (RemoteError, "see the controller's manual"))
        raise error(f"the controller refused '{question}': {reason or text}", remedy=remedy)

    async def order(self, command: str) -> None:
        """Have a command carried out.

        Raises:
            PykaraboError: as `ask`.
        """
        answer = await self.ask(command)
        if answer != "OK":
            self.close()
            raise RemoteError(
                f"the controller at {self._address} answered '{command}' with {answer!r}",
                remedy="look at the axis before you ask again: it may have obeyed",
            )

    async def axis(self, number: int) -> AxisReading:
        """Read an axis.

        Raises:
            MalformedMessageError: the answer is none.
            PykaraboError: as `ask`.
        """
        with self._parsing(f"AX? {number}"):
            steps, velocity, flags = map(int, (await self.ask(f"AX? {number}")).split(","))
            return AxisReading(steps, velocity, AxisFlag(flags))

    async def temperature(self) -> float:
        """Read the temperature of the drives in °C; raises as `axis`."""
        with self._parsing("TEMP?"):
            degrees = float(await self.ask("TEMP?"))
            if not math.isfinite(degrees):
                raise ValueError(f"{degrees} is no temperature")
            return degrees

    @contextlib.contextmanager
    def _parsing(self, question: str) -> Generator[None, None, None]:
        try:
            yield
        except ValueError as error:
            self.close()
            raise MalformedMessageError(
                f"the controller at {self._address} answered '{question}' with nonsense: {error}",
                remedy="check that nobody else uses the connection, and its firmware",
            ) from None
