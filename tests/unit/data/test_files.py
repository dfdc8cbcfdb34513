"""Files are written whole or not at all, and say what is wrong with them."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings

from pykarabo.data import Hash, Schema, Timestamp, from_xml, load, save, to_json
from pykarabo.data._codec import EXTENSIONS
from pykarabo.errors import (
    BadConfigurationError,
    InvalidNameError,
    LimitExceededError,
    MalformedMessageError,
    VersionMismatchError,
    WrongTypeError,
)
from tests.unit.data.values import hashes

_ROOT: Final = Path(__file__).parents[3]
_ENDINGS: Final = ("json", "xml", "h5", "bin")
_VALUE: Final = Hash({"motor": {"speed": 1.5}, "at": Timestamp(1, 2, 3), "trace": np.arange(400)})


@pytest.mark.parametrize("ending", _ENDINGS)
@pytest.mark.parametrize(
    "value", [_VALUE, Schema("Motor"), [1, "x"]], ids=["hash", "schema", "list"]
)
def test_saved_value_is_loaded(ending: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / f"scan.{ending}"
    save(value, path)
    assert load(path) == value
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", _ENDINGS)
def test_file_stays_as_it_was_when_its_successor_cannot_be_written(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"scan.{ending}"
    save(_VALUE, path)
    path.chmod(0o640)
    with pytest.raises(WrongTypeError):
        save(Hash("it", object()), path)
    assert load(path) == _VALUE
    assert os.listdir(tmp_path) == [path.name]
    save(Hash("it", 1), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_link_is_kept_and_its_target_replaced(tmp_path: Path) -> None:
    link, target = tmp_path / "latest.json", tmp_path / "first.json"
    save(1, target)
    link.symlink_to(target)
    save(2, link)
    assert link.is_symlink()
    assert load(target) == 2


@pytest.mark.parametrize("name", ["scan", "scan.yaml"])
def test_unknown_ending_is_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    for attempt in (lambda path: save(1, path), load):
        with pytest.raises(InvalidNameError, match=r"use \.json, \.xml, \.h5, \.bin"):
            attempt(tmp_path / name)


@pytest.mark.parametrize("ending", _ENDINGS)
def test_error_names_the_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"odd.{ending}"
    path.write_bytes(b"odd")
    with pytest.raises(MalformedMessageError, match=f"odd.{ending}"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"gone.{ending}")


def test_hdf5_without_h5py_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(BadConfigurationError, match="extra 'services'"):
        save(1, tmp_path / "a.h5")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", [0, 9, 14, 20, 60, -1])
def test_a_damaged_bit_of_a_binary_file_is_found(place: int, tmp_path: Path) -> None:
    path = tmp_path / "scan.bin"
    save(_VALUE, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises((MalformedMessageError, VersionMismatchError)):
        load(path)


# -- where it is wrong -----------------------------------------------------------------------

_HEAD: Final = '{"pykarabo": "value", "version": 1,\n"value": '


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{\n1}", "line 2, column 1"),
        (_HEAD + '{"$hash": {\n"a": {"$odd": 1}}}}', "line 3: there is no kind of value '$odd'"),
        (_HEAD + '{"$hash": {\n"a": {"$bytes": "?"}}}}', "line 3: bytes are no base64"),
        (_HEAD + '{"$map": {"a": 1,\n"a": 2}}}', "line 2: an object has the member 'a' twice"),
        (_HEAD + "[NaN]}", "NaN is no number of JSON"),
        (_HEAD + "[1e999]}", "no value of 64 bits"),
        (_HEAD + "[18446744073709551616]}", "no value of 64 bits"),
        (_HEAD + '["\\ud800"]}', "valid Unicode"),
        (_HEAD + '{"$array": "<f8", "shape": [2], "values": [1]}}', "do not fit its shape"),
        (_HEAD + '{"$array": "<f8", "shape": [1], "values": ["x"]}}', "no number"),
        (_HEAD + '{"$array": "|O", "shape": [1], "base64": ""}}', "none of ours"),
        (_HEAD + '{"$array": "|u1", "shape": [1], "values": [256]}}', "do not fit its type"),
        (_HEAD + '{"$array": "|b1", "shape": [1], "values": [1]}}', "array of bool holds 1"),
        (_HEAD + '{"$scalar": "str", "value": 1}}', "no scalar type 'str'"),
        (_HEAD + '{"$bytes": "", "more": 1}}', "unknown member 'more'"),
        (_HEAD + '{"$hash": {}, "$attributes": {"a": {}}}}', "none of the elements'"),
        (_HEAD + '{"$value": "odd", "content": {"$map": {}}}}', "tag 'odd'"),
        (_HEAD + '{"$value": "timestamp", "content": {"$map": {}}}}', "class 'timestamp'"),
        ('{"version": 1}', "no document of pykarabo"),
        ('{"pykarabo": "value", "value": 1}', "no version"),
    ],
)
def test_json_error_says_where_and_what(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(MalformedMessageError) as caught:
        load(path)
    assert words in str(caught.value)


_BOMB: Final = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<pykarabo form="value" version="1"><str>&b;</str></pykarabo>'
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_BOMB, "DTD"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "DTD"),
        ("<odd/>", "'odd' does not belong here"),
        ("<pykarabo>\n<int>1</int></pykarabo>", "line 1: this is no document"),
        ("\n<odd", "line 2, column"),
        ("<int>x</int>", "line 2: 'x' is no number"),
        ("<int>1.5</int>", "no integer"),
        ("<float>1e999</float>", "no number that fits"),
        ("<bool>1</bool>", "neither true nor false"),
        ("<null>x</null>", "holds text"),
        ("<list>\n\nx</list>", "line 4: a 'list' holds the text 'x'"),
        ("<int><int>1</int></int>", "a 'int' holds the element"),
        ('<int odd="1">1</int>', "the attribute 'odd'"),
        ("<map><int>1</int></map>", "has 0 keys"),
        ('<list><int key="a">1</int></list>', "has 1 keys"),
        ('<map><int key="a">1</int><int key="a">2</int></map>', "key twice"),
        ("<hash><attributes/></hash>", "of no element"),
        ('<hash><int key="a">1</int><attributes/><attributes/></hash>', "attributes twice"),
        ("<int>1</int><int>2</int>", "2 values instead of one"),
        ('<str encoding="hex">00</str>', "no encoding 'hex'"),
        ('<str encoding="base64">/w==</str>', "no UTF-8"),
        ('<array type="&lt;f8">1</array>', "no shape"),
        ('<scalar type="str">1</scalar>', "no scalar type"),
        ('<value class="odd"><map/></value>', "tag 'odd'"),
    ],
)
def test_xml_error_says_where_and_what(content: str, words: str) -> None:
    if not content.lstrip().startswith(("<!", "<pykarabo", "<odd")):
        content = f'<pykarabo form="value" version="1">\n{content}</pykarabo>'
    with pytest.raises(MalformedMessageError) as caught:
        from_xml(content)
    assert words in str(caught.value)


def test_hdf5_error_names_the_path_and_nothing_outside_is_read(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.h5"
    save(Hash({"motor": {"speed": 1.5, "name": "x"}}), path)
    damages: dict[str, Any] = {
        "/value/motor/speed": lambda file: file["value/motor/speed"].attrs.create("type", "odd"),
        "/value/motor": lambda file: _link(file, h5py.ExternalLink("b.h5", "/value")),
        "'speed'": lambda file: _link(file, h5py.SoftLink("/value")),
    }
    original = path.read_bytes()
    for words, damage in damages.items():
        path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            damage(file)
        with pytest.raises(MalformedMessageError) as caught:
            load(path)
        assert words in str(caught.value)


def _link(file: Any, link: Any) -> None:
    del file["value/motor/speed"]
    file["value/motor/speed"] = link


def test_hdf5_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.h5"
    save(Hash("a", 1), path)
    with h5py.File(path, "r+") as file:
        huge = file.create_dataset("value/b", (2**40,), "f8", chunks=(2**10,))
        huge.attrs["type"] = np.array(b"array")
    with pytest.raises(LimitExceededError):
        load(path)
    with h5py.File(path, "r+") as file:
        del file["value/b"]
        file["value/b"] = file["value"]
    with pytest.raises(LimitExceededError):
        load(path)


def test_hdf5_texts_of_variable_length_are_refused_unread(tmp_path: Path) -> None:
    """The HDF5 library reads damaged ones for ever."""
    import h5py

    path = tmp_path / "a.h5"
    save(Hash("a", 1), path)
    with h5py.File(path, "r+") as file:
        assert file.attrs.get_id("pykarabo_form").dtype == np.dtype("S5")
        file["value"].attrs["type"] = "hash"
    with pytest.raises(MalformedMessageError, match="variable length"):
        load(path)


def test_hdf5_attributes_may_be_long(tmp_path: Path) -> None:
    value = Hash()
    value.set("a", 1, text="x" * 200_000)
    path = tmp_path / "a.h5"
    save(value, path)
    assert load(path) == value


# -- the description -------------------------------------------------------------------------


@settings(max_examples=20)
@given(hashes())
def test_json_documents_are_as_the_schema_describes(value: Hash) -> None:
    schema = json.loads((_ROOT / "schemas" / "value_json.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(to_json(value)))


def test_the_reference_lists_the_extensions_of_the_code() -> None:
    page = (_ROOT / "docs" / "reference" / "codecs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+?) \| \[(.+?)\] \|$", page, re.MULTILINE)
    assert {int(code): (what, tuple(fields.split(", "))) for code, what, fields in rows} == dict(
        EXTENSIONS
    )
