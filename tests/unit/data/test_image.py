"""Images: what they are made of fits together, and arrives as it was."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Configurable,
    Encoding,
    Image,
    ImageData,
    PropertyInfo,
    decode,
    encode,
    same,
)
from pykarabo.errors import BadInputError, NotAnOptionError, WrongShapeError, WrongTypeError


class _Camera(Configurable):
    free = Image()
    gray = Image(dtype="uint16", shape=(None, 4), encoding=Encoding.GRAY)
    colour = Image(encoding=Encoding.RGB)
    file = Image(encoding=Encoding.JPEG)
    maybe = Image(nullable=True)


_INFO = dict(_Camera.schema().properties)
_GRAY = np.arange(8, dtype="uint16").reshape(2, 4)
_CHANNELS = {"rgb": 3, "bgr": 3, "yuv444": 3, "rgba": 4, "bgra": 4}


def test_what_is_not_given_is_taken_from_the_pixels() -> None:
    image = ImageData(_GRAY)
    assert image == ImageData(
        _GRAY, Encoding.GRAY, (2, 4), 16, (0, 0), (1, 1), rotation=0, flip_x=False, flip_y=False
    )
    assert ImageData(np.zeros((2, 2, 3), "uint8")).encoding is Encoding.RGB
    assert ImageData(np.zeros((2, 2, 4), "uint8")).bits_per_pixel == 32
    assert ImageData(np.zeros((2, 2, 5), "uint8")).encoding is Encoding.GRAY


@pytest.mark.parametrize("encoding", Encoding)
def test_image_of_every_encoding_arrives_as_it_was(encoding: Encoding) -> None:
    channels = 2 if encoding.startswith("yuv422") else _CHANNELS.get(encoding)
    pixels = np.arange(24, dtype="uint8").reshape((2, -1, channels) if channels else (2, 12))
    if encoding is Encoding.JPEG:
        image = ImageData(pixels.reshape(-1), encoding, dims=(480, 640))
    else:
        image = ImageData(pixels, encoding, rotation=90, flip_y=True, binning=[2] * pixels.ndim)  # type: ignore[arg-type]
    info = _INFO["free"]
    arrived = info.present(decode(encode(info.validate(image))))
    assert arrived == image
    assert arrived.encoding is encoding
    assert same(arrived.pixels, image.pixels)


def test_large_pixels_travel_as_a_frame_of_their_own() -> None:
    pixels = np.zeros((100, 100), "uint16")
    frames = encode(_INFO["free"].validate(pixels))
    assert [len(frame) for frame in frames[1:]] == [pixels.nbytes]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"encoding": "rgb"}, WrongShapeError),
        ({"encoding": "grey"}, NotAnOptionError),
        ({"encoding": "jpeg"}, WrongShapeError),
        ({"dims": (4, 2)}, WrongShapeError),
        ({"dims": (2, 4, 1)}, WrongShapeError),
        ({"rotation": 45}, NotAnOptionError),
        ({"rotation": True}, NotAnOptionError),
        ({"binning": (2,)}, WrongShapeError),
        ({"binning": (0, 1)}, WrongTypeError),
        ({"roi_offsets": (-1, 0)}, WrongTypeError),
        ({"roi_offsets": (1.5, 0)}, WrongTypeError),
        ({"bits_per_pixel": -1}, WrongTypeError),
        ({"flip_x": 1}, WrongTypeError),
        ({"pixels": "text"}, WrongTypeError),
        ({"pixels": 3}, WrongTypeError),
        ({"pixels": np.zeros((1,) * 9)}, WrongTypeError),
        ({"colour": "red"}, WrongTypeError),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    arguments: dict[str, Any], kind: type[BadInputError]
) -> None:
    with pytest.raises(kind) as caught:
        ImageData.from_plain({"pixels": _GRAY, **arguments})
    assert caught.value.remedy
    with pytest.raises(kind, match=r"'A/1\.free'") as caught:
        _INFO["free"].validate({"pixels": _GRAY, **arguments}, device="A/1")
    assert (caught.value.device, caught.value.key) == ("A/1", "free")


@pytest.mark.parametrize(
    ("key", "pixels", "reason"),
    [
        ("gray", np.zeros((2, 5), "uint16"), "any x 4"),
        ("gray", np.zeros((2, 4), "uint8"), "uint16"),
        ("gray", np.zeros((2, 4, 3), "uint16"), "gray"),
        ("colour", _GRAY, "rgb"),
        ("free", [[1, 2]], "list"),
        ("free", None, "None"),
        ("free", {}, "pixels"),
    ],
)
def test_image_that_is_not_as_declared_is_refused(key: str, pixels: Any, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        _INFO[key].validate(pixels, device="A/1")


def test_attribute_is_an_image() -> None:
    camera = _Camera()
    camera.gray = _GRAY
    assert camera.gray == ImageData(_GRAY)
    assert camera.maybe is None
    camera.maybe = ImageData(_GRAY, flip_x=True)
    assert camera.maybe.flip_x


@pytest.mark.parametrize("key", ["free", "gray", "colour", "file"])
def test_image_without_a_default_is_one_that_its_property_takes(key: str) -> None:
    image = getattr(_Camera(), key)
    assert same(_INFO[key].validate(image), _Camera()._values[key].value)


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.sampled_from(["bool", "uint8", "int16", ">u2", "float32", "float64"]),
    st.sampled_from([0, 90, 180, 270]),
    st.booleans(),
)
def test_any_image_and_its_description_arrive_as_they_were(
    shape: tuple[int, int], dtype: str, rotation: int, flip: bool
) -> None:
    image = ImageData(np.ones(shape, dtype), rotation=rotation, flip_x=flip, roi_offsets=(3, 4))
    info = PropertyInfo.from_wire(decode(encode(_INFO["free"].to_wire())))
    assert info.present(decode(encode(info.validate(image)))) == image
