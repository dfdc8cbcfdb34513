"""What is told to the process of a single device."""

import asyncio
import io
from typing import Any

import numpy as np
import pytest

from pykarabo.device import Device
from pykarabo.device._own_process import class_path, packed, read_packed
from pykarabo.errors import BadConfigurationError
from pykarabo.testing import run_facility


class _Motor(Device):
    """Can be imported."""


def test_what_is_told_arrives_with_its_arrays() -> None:
    told: dict[str, Any] = {"a": 1, "b": None, "image": np.arange(5_000.0), "raw": b"\0\1"}
    heard = read_packed(io.BytesIO(packed(told)))
    assert heard.pop("image").tolist() == told.pop("image").tolist()
    assert heard == told


def test_a_class_is_found_by_its_module() -> None:
    assert class_path(_Motor) == f"{__name__}:_Motor"


def test_a_class_that_only_this_program_has_is_refused() -> None:
    class Local(Device):
        """Nobody else can import it."""

    with pytest.raises(BadConfigurationError, match="'Local' cannot run in a process of its own"):
        class_path(Local)


def test_a_server_in_memory_starts_no_processes() -> None:
    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            with pytest.raises(BadConfigurationError, match="starts no processes"):
                await facility.server.instantiate_apart("Motor", "M/1")

    asyncio.run(scenario())
