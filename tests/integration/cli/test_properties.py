"""`get`, `set` and `call` against a served device."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("benches")


def test_one_property_is_its_bare_value_with_unit(pykarabo: Any) -> None:
    assert pykarabo("get", "T/BENCH/1.position").out == "0.0 mm\n"
    assert pykarabo("get", "T/BENCH/1.name").out == "bench\n"


def test_several_properties_are_a_table(pykarabo: Any) -> None:
    done = pykarabo("get", "T/BENCH/1.position", "T/BENCH/2.count")
    assert done.code == 0
    header, first, second = done.lines
    assert header.split() == ["property", "value", "quality", "time"]
    assert first.split()[:4] == ["T/BENCH/1.position", "0", "mm", "valid"]
    assert second.split()[:3] == ["T/BENCH/2.count", "7", "valid"]


def test_a_device_alone_means_all_of_its_properties(pykarabo: Any) -> None:
    values = pykarabo("get", "T/BENCH/1", "--json").json
    assert values["T/BENCH/1.class_id"]["value"] == "Bench"
    assert values["T/BENCH/1.axis.gap"]["value"] == 1.0
    assert values["T/BENCH/1.state"]["quality"] == "valid"


def test_a_node_means_what_is_below_it(pykarabo: Any) -> None:
    assert list(pykarabo("get", "T/BENCH/1.axis", "--json").json) == ["T/BENCH/1.axis.gap"]


def test_a_pattern_leaves_out_devices_without_the_property(pykarabo: Any) -> None:
    values = pykarabo("get", "T/*.count", "--json").json
    assert list(values) == ["T/BENCH/1.count", "T/BENCH/2.count"]


def test_a_pattern_that_nothing_matches_is_bad_input(pykarabo: Any) -> None:
    done = pykarabo("get", "X/*.count")
    assert (done.code, done.out) == (3, "")
    assert "no device matches 'X/*'" in done.err
    done = pykarabo("get", "T/*.cuont")
    assert done.code == 3
    assert "no device that matches 'T/*' has a property 'cuont'" in done.err


def test_targets_that_fail_are_told_and_the_others_shown(pykarabo: Any) -> None:
    done = pykarabo("get", "T/BENCH/1.cuont", "T/BENCH/1.count", "T/NONE/1.x", "T/BENCH/2.count")
    assert done.code == 3
    assert [line.split()[0] for line in done.lines[1:]] == ["T/BENCH/1.count", "T/BENCH/2.count"]
    assert [line.partition(" ")[0] for line in done.err.splitlines()] == ["error:", "error:"]
    assert "'cuont'" in done.err
    assert "did you mean 'count'?" in done.err
    assert "T/NONE/1" in done.err


def test_with_json_failed_targets_stand_in_the_same_document(pykarabo: Any) -> None:
    done = pykarabo("get", "T/BENCH/1.cuont", "T/BENCH/1.count", "--json")
    assert done.code == 3
    assert done.json["T/BENCH/1.count"]["value"] == 7
    assert done.json["T/BENCH/1.cuont"]["error"]["code"] == "unknown_property"


def test_a_value_is_written_and_shown_as_the_device_has_it(pykarabo: Any) -> None:
    done = pykarabo("set", "T/BENCH/1.position=0.3 cm", "T/BENCH/1.count=-3")
    assert done.code == 0
    assert done.lines == ["T/BENCH/1.position = 3 mm", "T/BENCH/1.count = -3"]
    assert pykarabo("get", "T/BENCH/1.count").out == "-3\n"


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("enabled=on", True),
        ("name=a=b, c", "a=b, c"),
        ("name=", ""),
        ("mode=fast", "fast"),
        ("raw=abc", {"base64": "YWJj"}),
        ("phase=1-2j", [1.0, -2.0]),
        ("steps=1, 2.5", [1.0, 2.5]),
        ("steps=[]", []),
        ("words=a,b", ["a", "b"]),
        ("table=[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("axis.gap=-2e-1", -0.2),
        ("position=-10", -10.0),
    ],
)
def test_a_property_of_each_kind_can_be_written(
    pykarabo: Any, assignment: str, value: object
) -> None:
    done = pykarabo("set", f"T/BENCH/1.{assignment}", "--json")
    assert done.code == 0, done.err
    (written,) = done.json.values()
    assert written["value"] == value
    (read,) = pykarabo("get", f"T/BENCH/1.{assignment.partition('=')[0]}", "--json").json.values()
    assert read["value"] == value


def test_an_array_is_written_from_a_file(pykarabo: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(6, dtype="uint16").reshape(3, 2))
    assert pykarabo("set", f"T/BENCH/1.table=@{tmp_path}/t.npy").code == 0
    assert pykarabo("get", "T/BENCH/1.table").out == "[[0, 1], [2, 3], [4, 5]]\n"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("position=11", "at most 10 mm"),
        ("position=3 s", "mm"),
        ("count=1.5", "int32"),
        ("mode=medium", "'slow', 'fast'"),
        ("ticks=1", "read"),
        ("parked=on", "OFF"),
        ("cuont=1", "did you mean 'count'?"),
        ("enabled=perhaps", "on or off"),
        ("table=[1, 2]", "any x 2"),
    ],
)
def test_a_bad_value_leaves_all_of_its_device_unwritten(
    pykarabo: Any, assignment: str, said: str
) -> None:
    done = pykarabo("set", "T/BENCH/1.axis.gap=5", f"T/BENCH/1.{assignment}", "T/BENCH/2.count=1")
    assert done.code == 3
    assert "'T/BENCH/1" in done.err
    assert said in done.err
    assert done.lines == ["T/BENCH/2.count = 1"]
    assert pykarabo("get", "T/BENCH/1.axis.gap").out == "1.0 mm\n"


def test_with_json_a_refused_write_is_in_the_document(pykarabo: Any) -> None:
    done = pykarabo("set", "T/BENCH/1.position=99", "T/BENCH/2.count=1", "--json")
    assert done.code == 3
    assert done.json["T/BENCH/1.position"]["error"]["code"] == "out_of_range"
    assert done.json["T/BENCH/2.count"]["value"] == 1


def test_what_is_no_assignment_writes_nothing(pykarabo: Any) -> None:
    assert pykarabo("set", "T/BENCH/1.count=1", "T/BENCH/1.position").code == 2
    assert pykarabo("set", "T/BENCH/1.count=1", "T/BENCH/1=3").code == 3
    assert pykarabo("get", "T/BENCH/1.count").out == "7\n"


@pytest.mark.parametrize(
    "arguments",
    [("-0.3 cm", "on"), ("-3",), ("position=-3", "fast=1"), ("fast=true", "-3")],
)
def test_arguments_are_read_by_their_parameters(pykarabo: Any, arguments: tuple[str, ...]) -> None:
    done = pykarabo("call", "T/BENCH/1.move", *arguments, "--json")
    assert done.code == 0, done.err
    assert done.json == {"position": -3.0, "fast": len(arguments) > 1}


def test_a_result_is_shown_whole_and_none_is_silence(pykarabo: Any) -> None:
    numbers = ",".join(map(str, range(50)))
    done = pykarabo("call", "T/BENCH/1.add", numbers, "more=[0.5]")
    assert done.out == str([*map(float, range(50)), 0.5]) + "\n"
    assert pykarabo("call", "T/BENCH/1.tick").out == ""
    assert pykarabo("call", "T/BENCH/1.tick", "--json").json is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("T/BENCH/1.mvoe", "1"), 3, "did you mean 'move'?"),
        (("T/BENCH/1.move",), 3, "lacks its argument 'position'"),
        (("T/BENCH/1.move", "1", "on", "2"), 3, "takes 2 arguments"),
        (("T/BENCH/1.move", "far"), 3, "T/BENCH/1"),
        (("T/BENCH/1.park",), 3, "OFF"),
        (("T/BENCH/1.fail",), 6, "no luck"),
        (("T/BENCH/1.sleep", "5", "--timeout", "0.2"), 5, "T/BENCH/1.sleep"),
        (("T/BENCH/1",), 3, "names no property or command"),
        (("a b.c",), 3, "no device id"),
    ],
)
def test_the_exit_code_of_a_call_says_whether_it_ran(
    pykarabo: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = pykarabo("call", *arguments)
    assert done.code == code
    assert said in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1


def test_the_domain_of_the_option_is_asked(pykarabo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = os.environ["PYKARABO_DOMAIN"]
    monkeypatch.setenv("PYKARABO_DOMAIN", "other")
    assert pykarabo("get", "T/BENCH/1.count").code == 4
    assert pykarabo("get", "T/BENCH/1.count", "-D", domain).out == "7\n"
