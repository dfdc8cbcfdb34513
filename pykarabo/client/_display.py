"""How devices show themselves in IPython and notebooks: as text, as HTML, and in their docstrings.

Colours of states are those of Karabo's control panels.
"""

import html
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pykarabo.data import (
    AccessMode,
    CommandInfo,
    PropertyInfo,
    PropertyValue,
    Quality,
    Schema,
    State,
)

from ._text import short

_UNKNOWN_COLOUR: Final = (255, 170, 0)
_FAMILY_COLOURS: Final = {
    State.CHANGING: (0, 170, 255),
    State.RUNNING: (153, 204, 255),
    State.ACTIVE: (120, 255, 0),
    State.PASSIVE: (204, 204, 255),
    State.DISABLED: (255, 0, 255),
}
_EXACT_COLOURS: Final = {
    State.STATIC: (0, 170, 0),
    State.NORMAL: (200, 200, 200),
    State.ERROR: (255, 0, 0),
    State.INIT: (230, 230, 170),
}
_QUALITY_COLOURS: Final = {
    Quality.ALARM: (255, 125, 125),
    Quality.WARN: (255, 255, 125),
    Quality.INVALID: _UNKNOWN_COLOUR,
}
_HEADER: Final = ("property", "value", "quality", "time")
_TIME_DIGITS: Final = 3
_LINK: Final = re.compile(r"\s+")


class View(NamedTuple):
    """What is shown of a device.

    Attributes:
        title: class and id.
        stale: why the values may be out of date; empty when they are current.
    """

    title: str
    schema: Schema
    values: Mapping[str, PropertyValue]
    stale: str = ""


class GroupView(NamedTuple):
    """What is shown of a group: per device its state, or why it does not answer."""

    title: str
    states: Mapping[str, str]


def colour_of(state: str) -> str:
    """Return the colour of a state as in HTML, such as ``rgb(0,170,255)``."""
    try:
        known = State(state)
    except ValueError:
        return _rgb(_UNKNOWN_COLOUR)
    for family, colour in _FAMILY_COLOURS.items():
        if known.is_derived_from(family):
            return _rgb(colour)
    return _rgb(_EXACT_COLOURS.get(known, _UNKNOWN_COLOUR))


def _rgb(colour: tuple[int, int, int]) -> str:
    return f"rgb({','.join(map(str, colour))})"


def _rows(view: View) -> Iterator[tuple[PropertyInfo, PropertyValue | None]]:
    for key, info in view.schema.properties.items():
        if not info.node:
            yield info, view.values.get(key)


def _cells(info: PropertyInfo, value: PropertyValue | None) -> tuple[str, str, str, str]:
    if value is None:
        return info.key, "?", "", ""
    time = value.timestamp.iso(_TIME_DIGITS)
    return info.key, short(value.value, info.unit), value.quality.value, time


# -- text ---------------------------------------------------------------------------------------


def as_text(view: View) -> str:
    """Return a device as lines of text."""
    stale = f" - may be out of date: {view.stale}" if view.stale else ""
    rows = [_cells(info, value) for info, value in _rows(view)]
    commands = ", ".join(info.name for info in view.schema.commands.values())
    lines = [f"{view.title}{stale}", *_aligned([_HEADER, *rows])]
    return "\n".join([*lines, f"commands: {commands}"] if commands else lines)


def group_as_text(view: GroupView) -> str:
    """Return a group as lines of text."""
    return "\n".join([view.title, *_aligned(list(view.states.items()))])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


# -- HTML ---------------------------------------------------------------------------------------


def as_html(view: View) -> str:
    """Return a device as a table in HTML; everything that comes from it is escaped."""
    state = view.values.get("state")
    shown = "UNKNOWN" if state is None or view.stale else str(state.value)
    badge = _badge(shown)
    stale = f"<p>may be out of date: {html.escape(view.stale)}</p>" if view.stale else ""
    rows = "".join(_html_row(info, value) for info, value in _rows(view))
    header = "".join(f"<th>{name}</th>" for name in _HEADER)
    commands = "".join(
        f'<li title="{html.escape(info.description, quote=True)}">'
        f"<code>{html.escape(info.signature)}</code></li>"
        for info in view.schema.commands.values()
    )
    return (
        f"<div><b>{html.escape(view.title)}</b> {badge}{stale}"
        f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        f"<details><summary>commands</summary><ul>{commands}</ul></details></div>"
    )


def group_as_html(view: GroupView) -> str:
    """Return a group as a table in HTML."""
    rows = "".join(
        f"<tr><td>{html.escape(device_id)}</td><td>{_badge(state)}</td></tr>"
        for device_id, state in view.states.items()
    )
    return f"<div><b>{html.escape(view.title)}</b><table><tbody>{rows}</tbody></table></div>"


def _badge(state: str) -> str:
    return (
        f'<span style="background:{colour_of(state)};color:black;padding:0 0.5em">'
        f"{html.escape(state)}</span>"
    )


def _html_row(info: PropertyInfo, value: PropertyValue | None) -> str:
    key, shown, quality, time = map(html.escape, _cells(info, value))
    colour = None if value is None else _QUALITY_COLOURS.get(value.quality)
    style = "" if colour is None else f' style="background:{_rgb(colour)};color:black"'
    description = html.escape(info.description or info.label, quote=True)
    return (
        f'<tr><td title="{description}">{key}</td><td{style}>{shown}</td>'
        f"<td>{quality}</td><td>{time}</td></tr>"
    )


# -- docstrings and signatures ------------------------------------------------------------------


def documentation(device_id: str, schema: Schema) -> str:
    """Return what ``device?`` shows: the class's description, and what the device has."""
    lines = [f"{device_id}: {schema.class_id}", "", schema.description.strip(), ""]
    lines += _section("Properties", map(_property_line, _leaves(schema)))
    lines += _section("Commands", (_command_lines(info) for info in schema.commands.values()))
    lines += _section("Outputs", (f"{key}: {_one(item)}" for key, item in schema.outputs.items()))
    return "\n".join(lines).strip()


def _leaves(schema: Schema) -> Iterator[PropertyInfo]:
    return (info for info in schema.properties.values() if not info.node)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"    {line}" for line in lines]
    return [f"{title}:", *found, ""] if found else []


def _one(info: Any) -> str:
    return _LINK.sub(" ", str(info.description)).strip()


def _property_line(info: PropertyInfo) -> str:
    unit = f" [{info.unit}]" if info.unit else ""
    access = "" if info.access_mode is AccessMode.RECONFIGURABLE else f", {info.access_mode.value}"
    return f"{info.key}: {info.value_type}{unit}{access}  {_one(info) or info.label}".rstrip()


def _command_lines(info: CommandInfo) -> str:
    return f"{info.signature}  {_one(info)}".rstrip()


def command_documentation(info: CommandInfo) -> str:
    """Return the docstring of a command."""
    lines = [info.description.strip() or info.label or info.name, "", info.signature]
    described = [item for item in info.parameters if item.description]
    lines += [f"    {item.name}: {_one(item)}" for item in described]
    if info.allowed_states is not None:
        lines += ["", f"Allowed in {', '.join(sorted(info.allowed_states))}."]
    return "\n".join(lines)


def command_signature(info: CommandInfo) -> inspect.Signature:
    """Return the signature of a command, for completion and help."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            item.name,
            kind,
            default=inspect.Parameter.empty if item.required else item.default,
            annotation=f"{item.value_type} [{item.unit}]" if item.unit else str(item.value_type),
        )
        for item in sorted(info.parameters, key=lambda item: not item.required)
    ]
    return inspect.Signature(parameters, return_annotation=str(info.returns))
