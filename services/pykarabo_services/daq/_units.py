"""Unit strings split as the run files want them: metric prefix and base unit, symbol and name."""

from typing import NamedTuple

# Symbols and names of the units known to readers of the format.
UNIT_NAMES = {
    "#": "count",
    "%": "percent",
    "A": "ampere",
    "A/s": "ampere per second",
    "B": "byte",
    "Bq": "becquerel",
    "C": "coulomb",
    "F": "farad",
    "Gy": "gray",
    "H": "henry",
    "Hz": "hertz",
    "J": "joule",
    "K": "kelvin",
    "N": "newton",
    "N_A": "mole fraction",
    "Pa": "pascal",
    "S": "siemens",
    "Sv": "sievert",
    "T": "tesla",
    "V": "volt",
    "V/s": "volt per second",
    "W": "watt",
    "Wb": "weber",
    "a": "year",
    "bar": "bar",
    "bit": "bit",
    "cd": "candela",
    "d": "day",
    "deg": "degree",
    "degC": "degree celsius",
    "eV": "electronvolt",
    "g": "gram",
    "h": "hour",
    "kat": "katal",
    "lm": "lumen",
    "lx": "lux",
    "m": "meter",
    "m/s": "meter per second",
    "min": "minute",
    "mol": "mole",
    "px": "pixel",
    "rad": "radian",
    "rpm": "revolutions per minute",
    "s": "second",
    "sr": "steradian",
    "Ω": "ohm",
}
PREFIX_NAMES = {
    "Y": "yotta",
    "Z": "zetta",
    "E": "exa",
    "P": "peta",
    "T": "tera",
    "G": "giga",
    "M": "mega",
    "k": "kilo",
    "h": "hecto",
    "da": "deca",
    "d": "deci",
    "c": "centi",
    "m": "milli",
    "u": "micro",
    "n": "nano",
    "p": "pico",
    "f": "femto",
    "a": "atto",
    "z": "zepto",
    "y": "yocto",
}
# Other spellings of units, and the full names; the same for the prefixes.
_SPELLINGS = {
    **{name: symbol for symbol, name in UNIT_NAMES.items()},
    **{"°C": "degC", "°": "deg", "ohm": "Ω", "Ohm": "Ω", "pixel": "px", "counts": "#"},
}
_PREFIXES = {
    **{name: symbol for symbol, name in PREFIX_NAMES.items()},
    **{symbol: symbol for symbol in PREFIX_NAMES},
    **{"µ": "u", "μ": "u"},
}
# These take no prefix, so that "cd" or "ha" are never read as a time.
_WITHOUT_PREFIX = frozenset({"#", "%", "N_A", "a", "d", "deg", "degC", "h", "min", "px", "rpm"})


class SplitUnit(NamedTuple):
    """A unit in two parts; names are empty where the format knows none."""

    prefix_symbol: str
    prefix_name: str
    unit_symbol: str
    unit_name: str


def split_unit(unit: str) -> SplitUnit:
    """Split a unit such as "mm" into prefix "m" and unit "m"; unknown units stay whole."""
    whole = _SPELLINGS.get(unit, unit)
    if whole in UNIT_NAMES:
        return SplitUnit("", "", whole, UNIT_NAMES[whole])
    for spelling, prefix in _PREFIXES.items():
        rest = unit.removeprefix(spelling)
        base = _SPELLINGS.get(rest, rest)
        if rest != unit and base in UNIT_NAMES and base not in _WITHOUT_PREFIX:
            return SplitUnit(prefix, PREFIX_NAMES[prefix], base, UNIT_NAMES[base])
    return SplitUnit("", "", unit, "")
