"""Asking many devices at once, with one call per server; both kinds of client ask here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pykarabo.data import PropertyValue, from_rows
from pykarabo.errors import PykaraboError, UnknownDeviceError
from pykarabo.wire import ReadMany, Request, SetMany, Target

from ._attempts import CERTAINLY_NOT_RUN

_T = TypeVar("_T")

Values: TypeAlias = dict[str, PropertyValue]
_ELSEWHERE: Final = (*CERTAINLY_NOT_RUN, UnknownDeviceError)
ROUNDS: Final = 2
"""Who is no longer where it was is looked up and asked once more."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[_T]):
    """What is asked of many devices.

    Attributes:
        devices: whom.
        part: what the request holds for one of them.
        request: the request to one server for all of its parts.
        answer: the answer of one device, from its part of the server's result; None and the
            refusal as a plain map where it refuses.
    """

    devices: Iterable[str]
    part: Callable[[str, Target], list[Any]]
    request: Callable[[list[list[Any]]], Request]
    answer: Callable[[Any], tuple[_T, Any]]

    def answers(self, devices: Iterable[str], result: list[Any]) -> dict[str, _T | PykaraboError]:
        """Return the answers of one server's devices."""
        return {
            device_id: found if refusal is None else PykaraboError.from_wire(refusal)
            for device_id, (found, refusal) in zip(devices, map(self.answer, result), strict=True)
        }


def reads(wanted: Mapping[str, list[str] | None]) -> Batch[Values]:
    """Return the batch that reads properties."""

    def values(found: Any) -> tuple[Values, Any]:
        rows, refusal, sequence = found
        return from_rows(rows or (), sequence), refusal

    return Batch(
        wanted, lambda device_id, _target: [device_id, wanted[device_id]], ReadMany, values
    )


def writes(wanted: Mapping[str, Mapping[str, Any]]) -> Batch[None]:
    """Return the batch that writes properties, all or none of each device."""
    return Batch(
        wanted,
        lambda device_id, target: [device_id, target.instance, dict(wanted[device_id])],
        SetMany,
        lambda refusal: (None, refusal),
    )


def elsewhere(answers: Mapping[str, object]) -> list[str]:
    """Return the devices that did nothing because they are no longer where they were."""
    return [device_id for device_id, answer in answers.items() if isinstance(answer, _ELSEWHERE)]
