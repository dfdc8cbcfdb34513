"""Images: pixels with all that is needed to show them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import BadInputError, NotAnOptionError, WrongShapeError, WrongTypeError

from ._compare import same
from ._numpy import np
from ._refusal import refusal, wrong_type

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._info import PropertyInfo

MAX_DIMENSIONS: Final = 8
ROTATIONS: Final = (0, 90, 180, 270)
_PLANE: Final = 2
_BYTE: Final = 8


class Encoding(StrEnum):
    """What the numbers of an image mean."""

    UNDEFINED = "undefined"
    GRAY = "gray"
    RGB = "rgb"
    RGBA = "rgba"
    BGR = "bgr"
    BGRA = "bgra"
    BAYER_RG = "bayer_rg"
    BAYER_BG = "bayer_bg"
    BAYER_GR = "bayer_gr"
    BAYER_GB = "bayer_gb"
    YUV444 = "yuv444"
    YUV422_YUYV = "yuv422_yuyv"
    YUV422_UYVY = "yuv422_uyvy"
    JPEG = "jpeg"


_CHANNELS: Final[Mapping[Encoding, int]] = {
    Encoding.RGB: 3,
    Encoding.RGBA: 4,
    Encoding.BGR: 3,
    Encoding.BGRA: 4,
    Encoding.YUV444: 3,
    Encoding.YUV422_YUYV: 2,
    Encoding.YUV422_UYVY: 2,
}
"""Numbers of a pixel, which are the last dimension; one without a dimension elsewhere."""
_GUESSED: Final = {3: Encoding.RGB, 4: Encoding.RGBA}


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """An image; what is not given is taken from the pixels.

    Attributes:
        pixels: numbers by row and column (and channel for colours); of JPEG the file's bytes.
        encoding: default is gray, and RGB or RGBA where there are 3 or 4 channels.
        dims: sizes of the image; default is the shape of the pixels, and only JPEG needs another.
        bits_per_pixel: default is what the type of the pixels holds.
        roi_offsets: where in the detector's frame the image begins, per dimension.
        binning: how many of the detector's pixels one pixel is, per dimension.
        rotation: degrees by which the image must be turned clockwise to be upright: 0, 90, 180
            or 270.
        flip_x, flip_y: whether columns or rows must be reversed to be as in the detector.

    Raises:
        WrongTypeError, WrongShapeError, NotAnOptionError: they do not fit each other.
    """

    pixels: "npt.NDArray[Any]"
    encoding: Encoding | None = None
    dims: tuple[int, ...] | None = None
    bits_per_pixel: int | None = None
    roi_offsets: tuple[int, ...] | None = None
    binning: tuple[int, ...] | None = None
    rotation: int = 0
    flip_x: bool = False
    flip_y: bool = False

    def __post_init__(self) -> None:
        pixels = _pixels(self.pixels)
        encoding = _encoding(self.encoding, pixels)
        dims = _sizes("dims", self.dims or pixels.shape, 0, None)
        channels = _CHANNELS.get(encoding, 1)
        made: dict[str, Any] = {
            "pixels": pixels,
            "encoding": encoding,
            "dims": dims,
            "bits_per_pixel": _whole(
                "bits_per_pixel", self.bits_per_pixel or pixels.itemsize * _BYTE * channels, 1
            ),
            "roi_offsets": _sizes("roi_offsets", self.roi_offsets or (0,) * len(dims), 0, dims),
            "binning": _sizes("binning", self.binning or (1,) * len(dims), 1, dims),
            "rotation": _rotation(self.rotation),
            "flip_x": _flag("flip_x", self.flip_x),
            "flip_y": _flag("flip_y", self.flip_y),
        }
        _check_shape(encoding, pixels, dims)
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def to_plain(self) -> dict[str, Any]:
        """Return the image as it travels: a map with the pixels as an array."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        lists = {name: list(plain[name]) for name in ("dims", "roi_offsets", "binning")}
        return plain | lists | {"encoding": Encoding(plain["encoding"]).value}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ImageData":
        """Rebuild an image from a map.

        Raises:
            BadInputError: the map is none of an image.
        """
        unknown = sorted(plain.keys() - {item.name for item in fields(cls)})
        if unknown or "pixels" not in plain:
            raise WrongTypeError(
                f"a map with {', '.join(unknown) or 'no pixels'} is no image",
                remedy=f"give pixels, and of {', '.join(item.name for item in fields(cls)[1:])}"
                " what differs from their defaults",
            )
        return cls(**plain)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageData) and same(self.to_plain(), other.to_plain())

    __hash__ = None  # type: ignore[assignment]


def image_of(info: "PropertyInfo", value: Any, device: str | None) -> dict[str, Any]:
    """Return an image as a plain map, checked against the property's shape, type and encoding.

    Raises:
        BadInputError: it does not fit.
    """
    try:
        image = _given(value)
    except BadInputError as error:
        problem = f"cannot be this image: {error.message}"
        raise refusal(type(error), info, device, problem, error.remedy or "") from None
    if image is None:
        raise wrong_type(info, value, device)
    _check_declared(info, image, device)
    return image.to_plain()


def zero_image(info: "PropertyInfo") -> dict[str, Any]:
    """Return an image of the declared shape, free sizes 0, that is black."""
    encoding = Encoding(info.encoding) if info.encoding else Encoding.GRAY
    channels = _CHANNELS.get(encoding)
    shape: tuple[int, ...] = (
        (0,) if encoding is Encoding.JPEG else (0, 0) if channels is None else (0, 0, channels)
    )
    if info.shape is not None:
        shape = tuple(size or 0 for size in info.shape)
    dtype = info.dtype or ("uint8" if encoding is Encoding.JPEG else "uint16")
    return ImageData(np.zeros(shape, dtype), encoding).to_plain()


def _given(value: Any) -> ImageData | None:
    if isinstance(value, ImageData):
        return value
    if isinstance(value, Mapping):
        return ImageData.from_plain(value)
    return ImageData(value) if isinstance(value, np.ndarray) else None


def _check_declared(info: "PropertyInfo", image: ImageData, device: str | None) -> None:
    pixels = image.pixels
    if info.encoding and image.encoding != info.encoding:
        problem = f"cannot have the encoding {image.encoding}"
        raise refusal(NotAnOptionError, info, device, problem, f"give it as {info.encoding}")
    if info.dtype is not None and pixels.dtype != info.dtype:
        problem = f"cannot have pixels of type {pixels.dtype}"
        raise refusal(WrongTypeError, info, device, problem, f"give {info.dtype}")
    if info.shape is not None and not fits_shape(info.shape, pixels.shape):
        problem = f"cannot have the shape {pixels.shape}"
        raise refusal(WrongShapeError, info, device, problem, f"give {shape_text(info.shape)}")


def fits_shape(wanted: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether an array has a declared shape, in which None is any size."""
    return len(wanted) == len(shape) and all(
        size is None or size == given for size, given in zip(wanted, shape, strict=True)
    )


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Return a declared shape as one reads it: ``any x 3``."""
    return " x ".join("any" if size is None else str(size) for size in shape)


# -- what an image is made of -------------------------------------------------------------------


def _pixels(value: Any) -> "npt.NDArray[Any]":
    pixels = np.asarray(value)
    if pixels.dtype.kind not in "biuf" or not 0 < pixels.ndim <= MAX_DIMENSIONS:
        raise WrongTypeError(
            f"pixels cannot be {pixels.ndim}-dimensional of type {pixels.dtype}",
            remedy=f"give an array of numbers of 1 to {MAX_DIMENSIONS} dimensions",
        )
    return pixels


def _encoding(given: Encoding | str | None, pixels: "npt.NDArray[Any]") -> Encoding:
    if given is None:
        colours = pixels.ndim == _PLANE + 1
        return _GUESSED.get(pixels.shape[-1], Encoding.GRAY) if colours else Encoding.GRAY
    try:
        return Encoding(given)
    except ValueError:
        raise NotAnOptionError(
            f"there is no encoding {given!r}", remedy=f"choose one of {', '.join(Encoding)}"
        ) from None


def _check_shape(encoding: Encoding, pixels: "npt.NDArray[Any]", dims: tuple[int, ...]) -> None:
    if encoding is Encoding.JPEG:
        if pixels.ndim != 1 or pixels.dtype != np.uint8:
            raise WrongShapeError(
                "the pixels of a JPEG image are no bytes",
                remedy="give the file's content, np.frombuffer(content, 'uint8'), and dims",
            )
        return
    channels = _CHANNELS.get(encoding)
    if channels is not None and (pixels.ndim <= _PLANE or pixels.shape[-1] != channels):
        raise WrongShapeError(
            f"an image in {encoding} cannot have the shape {pixels.shape}",
            remedy=f"give rows x columns x {channels}",
        )
    if dims != pixels.shape:
        raise WrongShapeError(
            f"dims {dims} differ from the shape {pixels.shape} of the pixels",
            remedy="leave dims out; only JPEG needs them",
        )


def _sizes(name: str, given: Any, lowest: int, dims: tuple[int, ...] | None) -> tuple[int, ...]:
    sizes = tuple(_whole(name, size, lowest) for size in given)
    if dims is not None and len(sizes) != len(dims):
        raise WrongShapeError(
            f"{name} {sizes} has {len(sizes)} numbers",
            remedy=f"give {len(dims)}, one per dimension",
        )
    return sizes


def _whole(name: str, value: Any, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
        raise WrongTypeError(
            f"{name} cannot be {value!r}", remedy=f"give integers of at least {lowest}"
        )
    return int(value)


def _rotation(value: Any) -> int:
    if isinstance(value, bool) or value not in ROTATIONS:
        raise NotAnOptionError(
            f"rotation cannot be {value!r}",
            remedy=f"give {', '.join(map(str, ROTATIONS))} degrees",
        )
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise WrongTypeError(f"{name} cannot be {value!r}", remedy="give True or False")
    return bool(value)
