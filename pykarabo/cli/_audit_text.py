"""A line of the audit log as a person reads it."""

import json
from collections.abc import Mapping
from typing import Any, Final

_DIGEST: Final = 8


def line_text(fields: Mapping[str, Any]) -> str:
    """Return when, who, what and how it ended, on one line without control characters."""
    when = str(fields.get("time", ""))[:23].replace("T", " ")
    kind = fields.get("kind")
    if kind in ("set", "call"):
        text = f"{_who(fields)}  {_what(fields)}  {_how(fields)}"
    elif kind == "gap":
        text = f"-- {fields.get('lost')} lines are missing: there was no room for them"
    elif kind == "begin":
        text = (
            f"-- {fields.get('server')} begins a file ({fields.get('why')}): process "
            f"{fields.get('pid')} of {fields.get('user')} on {fields.get('host')}"
        )
    else:
        text = f"-- end of the file ({fields.get('why')})"
    return printable(f"{when}  {text}")


def printable(text: str) -> str:
    """Return a text in which nothing moves the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _who(fields: Mapping[str, Any]) -> str:
    sure = "" if fields.get("certain") else "?"
    acting = f" for {fields['for']}" if "for" in fields else ""
    if "through" in fields:
        acting += f" through {fields['through']}"
    program = f"{fields.get('program')}({fields.get('pid')})"
    return f"{fields.get('user')}{sure}@{fields.get('host')} {program}{acting}"


def _what(fields: Mapping[str, Any]) -> str:
    more = f", {fields['more']} more" if "more" in fields else ""
    if fields.get("kind") == "call":
        given = fields.get("arguments", {}).items()
        shown = ", ".join(f"{name}={shown_value(value)}" for name, value in given)
        return f"{fields.get('device')}.{fields.get('command')}({shown}{more})"
    changes = [
        f"{key}: {shown_value(old)} -> {shown_value(new)}"
        for key, (old, new) in fields.get("changes", {}).items()
    ]
    asked = [f"{key} = {shown_value(value)}" for key, value in fields.get("asked", {}).items()]
    return f"{fields.get('device')} set {', '.join(changes + asked)}{more}"


def _how(fields: Mapping[str, Any]) -> str:
    outcome = str(fields.get("outcome"))
    if "error" not in fields:
        return outcome
    reason = f": {fields['reason']}" if "reason" in fields else ""
    times = f"  and {fields['times'] - 1} more like it" if "times" in fields else ""
    return f"{outcome} ({fields['error']}){reason}{times}"


def shown_value(value: Any) -> str:
    """Return a value of a line; what stands for another value says what that is."""
    if isinstance(value, dict) and "~" in value:
        return _stand_in(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _stand_in(value: Mapping[str, Any]) -> str:
    digest = f" #{str(value['digest'])[:_DIGEST]}" if "digest" in value else ""
    match value["~"]:
        case "secret":
            return "***"
        case "unknown":
            return f"<{value.get('type')}>"
        case "array":
            return f"<{value.get('dtype')} {value.get('shape')}{digest}>"
        case "text":
            return f"{json.dumps(value.get('start'), ensure_ascii=False)}… ({value.get('length')})"
        case kind:
            return f"<{kind} of {value.get('length')}{digest}>"
