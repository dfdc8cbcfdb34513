"""Whatever a client sets comes back from a real device as it was: value, type and attributes."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykarabo.client import Change, Client, Live, Watch, connect
from pykarabo.data import Hash, Schema, Timestamp, from_json, same, to_json
from tests.integration.conftest import Processes
from tests.unit.data.values import KEYS, TEXTS, VALUES, arrays, hashes

_DEADLINE_S: Final = 20.0
_EXAMPLES: Final = settings(
    max_examples=15,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def device(short_runtime: Path, tmp_path: Path) -> Iterator[str]:
    """Run a device with a property of every type as a process, beside a directory."""
    del short_runtime
    running = Processes(Path(__file__).with_name("every_type_process.py"), tmp_path)
    running.start("S/1", "EVERY/1", directory=True)
    yield "EVERY/1"
    running.close()


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else _below(bits)


def _below(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


def _vector(dtype: str) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype)
    return st.binary(max_size=64).map(
        lambda content: (
            np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind)
            if content
            else np.zeros(0, kind)
        )
    )


_NUMBERS: Final = {
    f"{'' if signed else 'u'}int{bits}_value": _integers(bits, signed=signed)
    for bits in (8, 16, 32, 64)
    for signed in (True, False)
}
_VECTORS: Final = {
    f"vector_{np.dtype(code).name}": _vector(code)
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "c16")
}
_VALUES_BY_KEY: Final[dict[str, st.SearchStrategy[Any]]] = {
    "bool_value": st.booleans(),
    **_NUMBERS,
    "float32_value": st.floats(width=32),
    "float64_value": st.floats(),
    "complex64_value": st.complex_numbers(width=64),
    "complex128_value": st.complex_numbers(),
    "string_value": TEXTS,
    "bytes_value": st.binary(max_size=40),
    "choice_value": st.sampled_from(["low", "high"]),
    "vector_bool": st.lists(st.booleans(), max_size=5).map(lambda bits: np.array(bits, bool)),
    **_VECTORS,
    "vector_string": st.lists(TEXTS, max_size=4),
    "array_value": st.builds(
        lambda rows, columns: np.arange(rows * columns, dtype=float).reshape(rows, columns),
        st.integers(0, 5),
        st.integers(0, 300),
    ),
    "any_array": arrays(),
    "hash_value": hashes() | st.dictionaries(KEYS, hashes(), max_size=2),
    "inner.number": st.floats(),
    "inner.text": TEXTS,
}
_CONFIGURATIONS = st.fixed_dictionaries(_VALUES_BY_KEY)


def _assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert [key for key in wanted if not same(found[key], wanted[key])] == []


def test_values_of_every_type_come_back_to_blocking_code(device: str) -> None:
    proxy = connect(device)

    @_EXAMPLES
    @given(_CONFIGURATIONS)
    def set_and_read(wanted: dict[str, Any]) -> None:
        proxy.set(wanted)
        _assert_same(proxy.get(*wanted), wanted)

    set_and_read()


def test_values_of_every_type_come_back_to_asyncio_and_to_whoever_watches(device: str) -> None:
    with asyncio.Runner() as runner:
        client, watching = runner.run(_watching(device))
        proxy = runner.run(client.device(device, follow=False))

        @_EXAMPLES
        @given(_CONFIGURATIONS)
        def set_and_watch(wanted: dict[str, Any]) -> None:
            async def scenario() -> None:
                await proxy.set(wanted)
                _assert_same(await proxy.get(*wanted), wanted)
                async with asyncio.timeout(_DEADLINE_S):
                    await _seen(wanted)

            runner.run(scenario())

        known: dict[str, Any] = {}

        async def _seen(wanted: dict[str, Any]) -> None:
            while not all(key in known and same(known[key], wanted[key]) for key in wanted):
                update = await anext(watching)
                assert isinstance(update, Live | Change)
                known.update({key: value.value for key, value in update.values.items()})

        set_and_watch()
        watching.close()
        runner.run(client.aclose())


async def _watching(device: str) -> tuple[Client, Watch]:
    client = Client()
    return client, client.watch(device)


def test_arguments_and_results_of_commands_come_back(device: str) -> None:
    proxy = connect(device)

    @_EXAMPLES
    @given(hashes() | VALUES.map(lambda value: Hash("it", value)))
    def call(value: Hash) -> None:
        assert same(proxy.echo(value), value)

    call()


def test_hash_of_every_class_of_value_survives_the_journey_and_a_file(device: str) -> None:
    proxy = connect(device)
    sent = Hash({"schema": proxy.schema, "at": Timestamp(1, 2, 3), "nan": [math.nan, -math.inf]})
    sent.set("wide", np.uint16(7), unit=np.float32(0.5), shape=[1, None])
    proxy.hash_value = sent
    back = proxy.hash_value
    assert back == sent
    assert isinstance(back["schema"], Schema)
    assert type(back["wide"]) is np.uint16
    assert from_json(to_json(back)) == sent
