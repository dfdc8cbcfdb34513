"""The units and metric prefixes of Karabo, and what pint calls them."""

import itertools
import re
from collections.abc import Mapping
from typing import Final

UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "NUMBER": ("dimensionless",),
    "COUNT": ("count",),
    "METER": ("m", "meter", "metre"),
    "GRAM": ("g", "gram"),
    "SECOND": ("s", "second"),
    "AMPERE": ("A", "ampere"),
    "KELVIN": ("K", "kelvin"),
    "MOLE": ("mol", "mole"),
    "CANDELA": ("cd", "candela"),
    "HERTZ": ("Hz", "hertz"),
    "RADIAN": ("rad", "radian"),
    "DEGREE": ("deg", "degree"),
    "STERADIAN": ("sr", "steradian"),
    "NEWTON": ("N", "newton"),
    "PASCAL": ("Pa", "pascal"),
    "JOULE": ("J", "joule"),
    "ELECTRONVOLT": ("eV", "electron_volt"),
    "WATT": ("W", "watt"),
    "COULOMB": ("C", "coulomb"),
    "VOLT": ("V", "volt"),
    "FARAD": ("F", "farad"),
    "OHM": ("ohm",),
    "SIEMENS": ("S", "siemens"),
    "WEBER": ("Wb", "weber"),
    "TESLA": ("T", "tesla"),
    "HENRY": ("H", "henry"),
    "DEGREE_CELSIUS": ("degC",),
    "LUMEN": ("lm", "lumen"),
    "LUX": ("lx", "lux"),
    "BECQUEREL": ("Bq", "becquerel"),
    "GRAY": ("Gy", "gray"),
    "SIEVERT": ("Sv", "sievert"),
    "KATAL": ("kat", "katal"),
    "MINUTE": ("min", "minute"),
    "HOUR": ("h", "hour"),
    "DAY": ("day",),
    "YEAR": ("year",),
    "BAR": ("bar",),
    "PIXEL": ("pixel",),
    "BYTE": ("B", "byte"),
    "BIT": ("bit",),
    "METER_PER_SECOND": ("m/s",),
    "VOLT_PER_SECOND": ("V/s",),
    "AMPERE_PER_SECOND": ("A/s",),
    "PERCENT": ("%", "percent"),
    "NOT_ASSIGNED": ("",),
    "REVOLUTIONS_PER_MINUTE": ("rpm",),
}
"""Karabo's name of each unit, and the spellings for ``unit=``; the first one is preferred."""

PREFIXES: Final[Mapping[str, tuple[str, str]]] = {
    "YOTTA": ("Y", "yotta"),
    "ZETTA": ("Z", "zetta"),
    "EXA": ("E", "exa"),
    "PETA": ("P", "peta"),
    "TERA": ("T", "tera"),
    "GIGA": ("G", "giga"),
    "MEGA": ("M", "mega"),
    "KILO": ("k", "kilo"),
    "HECTO": ("h", "hecto"),
    "DECA": ("da", "deca"),
    "NONE": ("", ""),
    "DECI": ("d", "deci"),
    "CENTI": ("c", "centi"),
    "MILLI": ("m", "milli"),
    "MICRO": ("u", "micro"),
    "NANO": ("n", "nano"),
    "PICO": ("p", "pico"),
    "FEMTO": ("f", "femto"),
    "ATTO": ("a", "atto"),
    "ZEPTO": ("z", "zepto"),
    "YOCTO": ("y", "yocto"),
}
"""Karabo's name of each metric prefix, its symbol and its word; it is written before the unit."""

WITHOUT_PREFIX: Final = frozenset(
    {
        "NUMBER",
        "NOT_ASSIGNED",
        "PERCENT",
        "DEGREE_CELSIUS",
        "REVOLUTIONS_PER_MINUTE",
        "METER_PER_SECOND",
        "VOLT_PER_SECOND",
        "AMPERE_PER_SECOND",
    }
)
"""Units whose name a prefix cannot be put before: no multiple of them has a name.

Of a quotient the numerator has the prefix, as in ``mm/s``; so no prefix is lost.
"""

MISREAD: Final = frozenset({"Eh", "dB", "hbar", "mcd"})
"""What pint takes for something else; write the prefix as a word: ``hectobar``."""

MORE: Final = frozenset(
    {"KiB", "MiB", "GiB", "TiB", "kibibyte", "mebibyte", "gibibyte", "tebibyte", "angstrom"}
)
"""Well-known names that are not in the tables: asking pint costs half a second once."""

_NAME: Final = r"(?:[^\W\d_]\w*|%)"
_FACTOR: Final = rf" *(?:{_NAME}(?:\*\*-?\d)?|1) *"
_PRODUCT: Final = re.compile(rf"{_FACTOR}(?:[*/]{_FACTOR})*")


def _names() -> frozenset[str]:
    plain = {name for names in UNITS.values() for name in names if re.fullmatch(_NAME, name)}
    prefixed = {
        prefix + name
        for unit, names in UNITS.items()
        if unit not in WITHOUT_PREFIX
        for name, (symbol, word) in itertools.product(names, PREFIXES.values())
        for prefix in (symbol, word)
    }
    return frozenset((plain | prefixed | MORE) - MISREAD)


_KNOWN: Final = _names()


def is_well_known(unit: str) -> bool:
    """Tell whether a unit is made of names of the tables; if not, pint has to be asked."""
    simple = _PRODUCT.fullmatch(unit)
    return not unit or (simple is not None and set(re.findall(_NAME, unit)) <= _KNOWN)
