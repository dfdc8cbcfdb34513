"""The units and prefixes that Karabo has are names that pint knows, and means the same by."""

import itertools
import subprocess
import sys

import pytest

from pykarabo.data import registry
from pykarabo.data._unit_names import MISREAD, MORE, PREFIXES, UNITS, WITHOUT_PREFIX, is_well_known
from pykarabo.data._units import is_unit

_POWERS = dict(
    zip(
        PREFIXES,
        (24, 21, 18, 15, 12, 9, 6, 3, 2, 1, 0, -1, -2, -3, -6, -9, -12, -15, -18, -21, -24),
        strict=True,
    )
)


def test_all_units_and_prefixes_are_there() -> None:
    assert (len(UNITS), len(PREFIXES)) == (47, 21)
    assert UNITS.keys() > WITHOUT_PREFIX


@pytest.mark.parametrize("karabo", UNITS)
def test_every_spelling_of_a_unit_means_the_same(karabo: str) -> None:
    units = [registry().Unit(name.replace("%", "percent")) for name in UNITS[karabo]]
    assert all(unit == units[0] for unit in units)
    assert all(map(is_unit, UNITS[karabo]))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixed_unit_is_that_multiple_of_it(prefix: str) -> None:
    for karabo in UNITS.keys() - WITHOUT_PREFIX:
        for name, word in itertools.product(UNITS[karabo], PREFIXES[prefix]):
            if word + name in MISREAD:
                continue
            multiple = (1 * registry().Unit(word + name)).to(name).magnitude
            assert multiple == pytest.approx(10.0 ** _POWERS[prefix], rel=1e-9), word + name
            assert is_well_known(word + name)


def test_prefixed_names_that_pint_takes_for_something_else_are_named() -> None:
    for name in MISREAD:
        symbol, rest = next(
            (symbol, name.removeprefix(symbol))
            for symbol, _word in PREFIXES.values()
            if symbol and name.startswith(symbol) and name.removeprefix(symbol) in _names()
        )
        assert registry().Unit(name) != registry().Unit(rest) * 10.0 ** _power(symbol)
        assert not is_well_known(name)


def _names() -> set[str]:
    return {name for names in UNITS.values() for name in names}


def _power(symbol: str) -> int:
    return next(_POWERS[name] for name, (found, _word) in PREFIXES.items() if found == symbol)


@pytest.mark.parametrize(
    "unit", ["", "mm", "mm/s", "kg*m**2/s**2", "1/s", "%", "millimeter", "mbar"]
)
def test_common_unit_is_known_without_pint(unit: str) -> None:
    assert is_well_known(unit)
    assert is_unit(unit)


@pytest.mark.parametrize("unit", ["mm/", "m s)", "m//s", "mm mm", "florin", "inch/", "**2"])
def test_what_is_no_simple_unit_is_left_to_pint(unit: str) -> None:
    assert not is_well_known(unit)


@pytest.mark.parametrize("unit", ["florins", "mm/", "m)(", "9**9**9**9", "mm" * 80, "3 +"])
def test_unknown_unit_is_none(unit: str) -> None:
    assert not is_unit(unit)


@pytest.mark.parametrize("unit", ["inch", "furlong/fortnight", "degC", "rpm", "angstrom"])
def test_other_units_of_pint_are_known(unit: str) -> None:
    assert is_unit(unit)
    assert "pint" in sys.modules


@pytest.mark.parametrize("name", sorted(MORE))
def test_more_well_known_names_are_units(name: str) -> None:
    assert is_well_known(name)
    assert (1 * registry().Unit(name)).to_base_units().magnitude > 0


def test_writing_devices_costs_no_import_of_pint() -> None:
    script = "import pykarabo.device, sys; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
