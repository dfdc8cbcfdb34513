"""The targets of scripts/fuzz with hypothesis, so that every run of the tests looks a little."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import Hash, encode, to_binary, to_json, to_xml

_FILE: Final = Path(__file__).parents[2] / "scripts" / "fuzzers" / "targets.py"
_MODULE: Final = runpy.run_path(str(_FILE))
_TARGETS: Final[dict[str, Callable[[bytes], None]]] = _MODULE["TARGETS"]
_SEEDS: Final[dict[str, tuple[bytes, ...]]] = _MODULE["SEEDS"]
_HASH: Final = Hash({"a": {"b": 1.5}, "c": [None, "text", b"bytes"], "d": 1j})
_GOOD = st.sampled_from(
    [
        b"\xff" + bytes(encode({"a": [1.5, None, "text"]})[0]),
        b"\x02\x0f\x01\x32\xff" + bytes(encode(["get", "A/1", None])[0]),
        b"\x02\x0f\x01\x32\xff" + bytes(encode(["set", "A/1", {"value": 1}])[0]),
        to_json(_HASH).encode(),
        to_xml(_HASH).encode(),
        to_binary(_HASH),
        to_binary(_HASH)[:-4],
        b"servers:\n  A/1:\n    devices:\n      B/1: {class: Motor, path: '${DATA}'}\n",
    ]
)
_DAMAGED = st.builds(
    lambda good, place, byte: good[: place % len(good)] + byte + good[place % len(good) + 1 :],
    _GOOD,
    st.integers(0, 200),
    st.binary(max_size=3),
)


@pytest.mark.parametrize("name", _TARGETS)
@settings(max_examples=200)
@given(st.binary(max_size=300) | _GOOD | _DAMAGED)
def test_bytes_are_understood_or_refused_with_a_type(name: str, data: bytes) -> None:
    _TARGETS[name](data)


@pytest.mark.parametrize("name", _TARGETS)
def test_every_search_begins_with_something_good(name: str) -> None:
    assert _SEEDS[name]
    for seed in _SEEDS[name]:
        _TARGETS[name](seed)
