"""Real frames from files: TIFF and HDF5."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pykarabo.errors import FrameFileError

_log: Final = logging.getLogger(__name__)
TIFF: Final = frozenset({".tif", ".tiff"})
HDF5: Final = frozenset({".h5", ".hdf5", ".nxs", ".cxi"})
CACHED_FRAMES: Final = 16
"""A short sequence is played from memory; 16 frames of a 16-megapixel camera take 0.5 GB."""
_IMAGE_DIMENSIONS: Final = 2


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one frame is: a page of a TIFF, or a dataset and an index into it."""

    path: Path
    dataset: str
    index: int | None


class FileFrames:
    """The frames of the image files of a directory, by name, one after the other, again and again.

    Args:
        directory: holds TIFF or HDF5 files; files of other kinds are left out.

    Attributes:
        problems: one line per file that holds no image; the others are played.

    Raises:
        FrameFileError: the directory does not exist or holds no image.
    """

    def __init__(self, directory: Path) -> None:
        self.problems: list[str] = []
        self._places = list(self._find(directory))
        if not self._places:
            reason = "; ".join(self.problems) or "there is no .tif, .tiff, .h5 or .hdf5 file"
            raise FrameFileError(
                f"no frames can be played from {directory}: {reason}",
                remedy="put TIFF or HDF5 images there, or name another directory",
            )
        self._load = lru_cache(CACHED_FRAMES)(_load)

    def __len__(self) -> int:
        return len(self._places)

    def _find(self, directory: Path) -> Iterator[_Place]:
        if not directory.is_dir():
            raise FrameFileError(
                f"there is no directory {directory}", remedy="name a directory with image files"
            )
        for path in sorted(directory.iterdir()):
            suffix = path.suffix.lower()
            try:
                if suffix in TIFF:
                    yield from _tiff_places(path)
                elif suffix in HDF5:
                    yield from _hdf5_places(path)
            except FrameFileError as error:
                _log.warning("%s", error)
                self.problems.append(str(error))

    def frame(self, index: int) -> npt.NDArray[Any]:
        """Return the frame with number `index`, counted on from the end to the beginning.

        Raises:
            FrameFileError: the file cannot be read any more.
        """
        return self._load(self._places[index % len(self._places)])


def _no_image(path: Path, reason: object) -> FrameFileError:
    return FrameFileError(
        f"{path} is no image: {reason}", remedy="remove it, or replace it by a TIFF or HDF5 image"
    )


def _tiff_places(path: Path) -> Iterator[_Place]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = len(file.pages)
            for page in range(pages):
                shape = file.pages[page].asarray().shape if page == 0 else None
                if shape is not None and len(shape) != _IMAGE_DIMENSIONS:
                    raise _no_image(path, f"its shape is {shape}")
    except (tifffile.TiffFileError, ValueError, OSError, KeyError) as error:
        raise _no_image(path, error) from None
    yield from (_Place(path, "", page) for page in range(pages))


def _hdf5_places(path: Path) -> Iterator[_Place]:
    import h5py

    found: list[_Place] = []

    def visit(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "uif":
            return
        if item.ndim == _IMAGE_DIMENSIONS:
            found.append(_Place(path, name, None))
        elif item.ndim == _IMAGE_DIMENSIONS + 1:
            found.extend(_Place(path, name, index) for index in range(item.shape[0]))

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise _no_image(path, error) from None
    if not found:
        raise _no_image(path, "it holds no dataset of two or three dimensions")
    yield from found


def _load(place: _Place) -> npt.NDArray[Any]:
    try:
        if place.dataset:
            import h5py

            with h5py.File(place.path) as file:
                dataset: Any = file[place.dataset]
                frame = dataset[()] if place.index is None else dataset[place.index]
        else:
            import tifffile

            frame = tifffile.imread(place.path, key=place.index)
    except (OSError, ValueError, KeyError) as error:
        raise _no_image(place.path, error) from None
    loaded = np.ascontiguousarray(frame)
    loaded.flags.writeable = False
    return loaded
