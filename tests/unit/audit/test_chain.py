"""A line fits its hash, and a chain tells of every line that was touched."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.audit import BEGIN, ChainCheck, Finding, Link, make_line, parse_line

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: "Infinity" not in json.dumps(value))


def _file(*, after: Link = BEGIN, count: int = 6, ended: str | None = "stop") -> list[bytes]:
    """Return the lines of a file: its first, `count` attempts, and its last if it has one."""
    begin = {"kind": "begin", "format": 1, "pid": 1, "host": "h", "why": "start"}
    told = [{**begin, "after": {"ending": "end"}}]
    told += [{"kind": "set", "device": f"D/{number}"} for number in range(count)]
    told += [] if ended is None else [{"kind": "end", "why": ended}]
    lines: list[bytes] = []
    for fields in told:
        line, after = make_line(after, fields)
        lines.append(line)
    return lines


def _check(*files: Sequence[bytes], heads: Sequence[Link] = (), living: bool = False) -> ChainCheck:
    check = ChainCheck(*heads)
    for number, lines in enumerate(files, 1):
        check.begin_file(f"F{number}")
        for line in lines:
            check.take(line)
    check.finish(is_written=living)
    return check


def _wrong(check: ChainCheck) -> list[Finding]:
    return [finding for finding in check.findings if finding.is_wrong]


def _link(raw: bytes) -> Link:
    line = parse_line(raw)
    assert line is not None
    return line.link


@given(st.dictionaries(st.text(min_size=1), _VALUES, max_size=4))
def test_a_line_is_read_back_as_it_was_made_and_is_ascii_on_one_line(
    fields: dict[str, object],
) -> None:
    fields = {key: value for key, value in fields.items() if key not in ("n", "prev", "hash")}
    raw, link = make_line(Link(6, "a" * 64), fields)
    line = parse_line(raw)
    assert line is not None
    assert (line.link, line.prev) == (link, "a" * 64)
    assert line.fields == {"n": 7, **fields, "prev": "a" * 64}
    assert raw.isascii()
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["hash"] == link.digest


def test_chain_as_it_was_written_is_fine() -> None:
    first = _file()
    second = _file(after=_link(first[-1]))
    check = _check(first, second)
    assert check.findings == []
    assert (check.lines, check.latest) == (16, _link(second[-1]))


_PLACES = st.integers(0, 7)


@given(_PLACES, st.data())
def test_an_edited_byte_is_found_in_its_line(place: int, data: st.DataObject) -> None:
    lines = _file()
    raw = bytearray(lines[place])
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] = data.draw(st.sampled_from(b'0aZ"{ ').filter(lambda byte: byte != raw[at]))
    lines[place] = bytes(raw)
    assert Finding("F1", place + 1, "was changed or put in: it does not fit its hash") in _wrong(
        _check(lines)
    )


@given(_PLACES)
def test_a_removed_line_is_found(place: int) -> None:
    lines = _file()
    del lines[place]
    wrong = _wrong(_check(lines))
    assert wrong
    if 0 < place < 7:
        assert str(wrong[0]) == f"F1:{place + 1}: line {place + 1} is missing before it"


@given(st.integers(1, 7), st.integers(0, 7))
def test_lines_cut_from_the_end_are_found(cut: int, rest: int) -> None:
    lines = _file()[:-cut]
    assert "cut after line" in str(_wrong(_check(lines))[-1])
    torn = [*lines[:-1], lines[-1][: -1 - rest]]
    assert "cut after line" in str(_wrong(_check(torn))[-1])


@given(_PLACES, _PLACES)
def test_exchanged_lines_are_found(one: int, other: int) -> None:
    if one == other:
        return
    lines = _file()
    lines[one], lines[other] = lines[other], lines[one]
    assert _wrong(_check(lines))


@given(st.integers(1, 7), _PLACES)
def test_a_repeated_line_is_found(place: int, which: int) -> None:
    lines = _file()
    lines.insert(place, lines[which])
    assert _wrong(_check(lines))


@given(st.integers(1, 7))
def test_a_line_put_in_with_a_hash_of_its_own_is_found(place: int) -> None:
    lines = _file()
    forged, _link_of_it = make_line(_link(lines[place - 1]), {"kind": "set", "device": "FORGED"})
    lines.insert(place, forged)
    assert any(f"line {place + 1}" in str(finding) for finding in _wrong(_check(lines)))


@given(st.integers(1, 6))
def test_a_line_replaced_with_a_hash_of_its_own_is_found(place: int) -> None:
    lines = _file()
    lines[place], _new = make_line(_link(lines[place - 1]), {"kind": "set", "device": "FORGED"})
    (finding,) = _wrong(_check(lines))
    assert finding.line == place + 2
    assert "one was replaced" in finding.text


@pytest.mark.parametrize("cut", [1, 4])
def test_a_published_head_betrays_a_cut_and_a_chain_made_anew(cut: int) -> None:
    lines = _file(ended=None)
    head = _link(lines[-1])
    assert _check(lines, heads=[head], living=True).findings == []
    (finding,) = _wrong(_check(lines[:-cut], heads=[head], living=True))
    assert f"published line {head.number}" in finding.text
    forged = list(lines[:3])
    for _ in lines[3:]:
        line, _new = make_line(_link(forged[-1]), {"kind": "set", "device": "FORGED"})
        forged.append(line)
    assert _wrong(_check(forged, living=True)) == []
    (finding,) = _wrong(_check(forged, heads=[head], living=True))
    assert finding.line == 7


def test_a_missing_file_is_found() -> None:
    first = _file()
    second = _file(after=_link(first[-1]))
    third = _file(after=_link(second[-1]))
    assert "lines 9 to 16 are missing" in str(_wrong(_check(first, third))[0])
    (note,) = _check(second, third).findings
    assert not note.is_wrong
    assert "begins with line 9" in note.text


def test_the_last_file_of_a_rotation_is_missed() -> None:
    assert "follows it is missing" in str(_wrong(_check(_file(ended="size")))[0])


def test_what_is_written_behind_the_end_is_found() -> None:
    lines = _file()
    more, _new = make_line(_link(lines[-1]), {"kind": "set"})
    assert any("behind the last line" in str(finding) for finding in _wrong(_check([*lines, more])))
