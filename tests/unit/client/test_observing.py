"""What a condition sees: the values that the updates have told so far, one update at a time."""

from types import MappingProxyType
from typing import Any

import pytest

from pykarabo.client import Change, Gap, Live, NewSchema, Stale
from pykarabo.client._observing import DeviceRef, Observation, observed
from pykarabo.data import PropertyInfo, PropertyValue, Schema, Timestamp, ValueType
from pykarabo.errors import StaleValueError, UnknownPropertyError

_INFOS = {
    key: PropertyInfo(key, ValueType.FLOAT64, unit="mm") for key in ("position", "node.inner")
}
_DEVICE = DeviceRef("M/1", "here", _INFOS.get)


def _values(**values: float) -> dict[str, PropertyValue]:
    return {
        key.replace("__", "."): PropertyValue(value, Timestamp(0, 0))
        for key, value in values.items()
    }


def _position() -> Any:
    return observed(_DEVICE, ("position",))["position"].value  # type: ignore[index]


def _observation() -> tuple[Observation, list[DeviceRef]]:
    followed: list[DeviceRef] = []
    return Observation(followed.append), followed


def test_outside_of_a_condition_nothing_is_observed() -> None:
    assert observed(_DEVICE, ("position",)) is None


def test_condition_is_undecided_until_values_are_there() -> None:
    observation, followed = _observation()
    assert not observation.evaluate(_position).decided
    assert not observation.evaluate(_position).decided
    assert followed == [_DEVICE]
    assert observation.take(_DEVICE, Live("M/1", _values(position=1.0)))
    assert observation.evaluate(_position) == (True, 1.0)
    assert observation.take(_DEVICE, Change("M/1", _values(position=2.0), 1))
    assert observation.evaluate(_position) == (True, 2.0)
    assert observed(_DEVICE, ("position",)) is None


def test_only_what_was_read_matters() -> None:
    observation, _followed = _observation()
    observation.evaluate(_position)
    observation.take(_DEVICE, Live("M/1", _values(position=1.0, other=1.0)))
    assert not observation.take(_DEVICE, Change("M/1", _values(other=2.0), 1))
    assert not observation.take(_DEVICE, Gap("M/1", 3))
    observation.evaluate(lambda: observed(_DEVICE, ()))
    assert observation.take(_DEVICE, Change("M/1", _values(other=3.0), 2))


def test_node_is_read_with_what_is_below_it() -> None:
    observation, _followed = _observation()

    def node() -> Any:
        return observed(_DEVICE, ("node",))

    observation.evaluate(node)
    observation.take(_DEVICE, Live("M/1", _values(node__inner=1.0)))
    assert observation.evaluate(node).result.keys() == {"node.inner"}
    assert observation.take(_DEVICE, Change("M/1", _values(node__inner=2.0), 1))


def test_device_that_is_away_leaves_a_condition_undecided() -> None:
    observation, _followed = _observation()
    observation.evaluate(_position)
    observation.require_present()  # it was not there yet
    observation.take(_DEVICE, Live("M/1", _values(position=1.0)))
    observation.require_present()
    observation.take(_DEVICE, Stale("M/1", "it was stopped"))
    assert not observation.evaluate(_position).decided
    with pytest.raises(StaleValueError, match=r"'M/1' went away .* it was stopped"):
        observation.require_present()
    error = observation.timeout("the condition did not become true", 2.0)
    assert "'M/1' is away: it was stopped" in error.message


def test_property_that_was_removed_is_unknown() -> None:
    observation, _followed = _observation()
    observation.evaluate(_position)
    observation.take(_DEVICE, Live("M/1", _values(position=1.0)))
    schema = Schema("Motor", properties=MappingProxyType({}))
    assert observation.take(_DEVICE, NewSchema("M/1", schema))
    with pytest.raises(UnknownPropertyError, match="no property 'position'"):
        observation.evaluate(_position)


def test_property_without_a_value_yet_is_waited_for() -> None:
    observation, _followed = _observation()
    observation.evaluate(_position)
    observation.take(_DEVICE, Live("M/1", {}))
    assert not observation.evaluate(_position).decided
    assert "M/1.position unknown" in observation.timeout("it did not", 1.0).message


def test_timeout_names_ten_properties_at_most() -> None:
    observation, _followed = _observation()
    keys = [f"key{number}" for number in range(12)]
    observation.evaluate(lambda: observed(_DEVICE, tuple(keys)))
    observation.take(_DEVICE, Live("M/1", _values(**dict.fromkeys(keys, 1.0))))
    message = observation.timeout("it did not", 1.0).message
    assert "M/1.key9 = 1 at 1970-01-01" in message
    assert "key10" not in message
    assert message.endswith("and 2 more")
