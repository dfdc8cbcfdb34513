"""A camera that plays real frames, or computes those of a powder."""

import asyncio
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pykarabo.data import (
    Array,
    Bool,
    Choice,
    Configurable,
    Float64,
    Int32,
    State,
    String,
    Timestamp,
    UInt32,
    UInt64,
    VectorInt32,
    VectorUInt64,
)
from pykarabo.device import Output, command
from pykarabo.device.interfaces import Camera as CameraInterface

from .frames import FileFrames
from .powder import CALIBRANTS, PowderFrames, PowderSettings

GRAY: Final = 0
"""Karabo's number of the encoding of gray-scale images."""
_DIM_TYPES: Final = [0, 0]
_POWDER: Final = (
    "calibrant", "wavelength", "distance", "pixel_size", "width", "height",
    "centre_x", "centre_y", "ring_width", "photons", "background", "hot_pixels", "seed",
)  # fmt: skip


class FrameSource(Protocol):
    """Where frames come from; the camera's hardware, so to say."""

    def frame(self, index: int) -> npt.NDArray[Any]:
        """Return a frame, shape (height, width); may block for some milliseconds."""
        ...


class Frame(Configurable):
    """One image, with the keys of Karabo's image data."""

    pixels = Array(key="data.image.pixels", shape=(None, None), description="The image.")
    dims = VectorUInt64(key="data.image.dims", description="Height and width in pixels.")
    dim_types = VectorInt32(key="data.image.dimTypes")
    encoding = Int32(key="data.image.encoding", description="0: gray scale.")
    bits_per_pixel = Int32(key="data.image.bitsPerPixel")
    roi_offsets = VectorUInt64(key="data.image.roiOffsets", unit="pixel")
    binning = VectorUInt64(key="data.image.binning")
    rotation = Int32(key="data.image.rotation", unit="degree")
    flip_x = Bool(key="data.image.flipX")
    flip_y = Bool(key="data.image.flipY")


class Camera(CameraInterface):
    """Takes one frame per train, or every n-th, and sends it to its output.

    With `frames` it plays the image files of a directory bit for bit; without, it computes the
    diffraction of a powder with photon noise and hot pixels.
    """

    frames = String(init_only=True, description="Directory of TIFF or HDF5 files; may be empty.")
    every = UInt32(default=1, minimum=1, description="Take a frame of every n-th train.")
    frame_rate = Float64(
        unit="Hz",
        default=10.0,
        minimum=0.01,
        maximum=1000.0,
        description="Frames per second where there is no train clock.",
    )
    calibrant = Choice(list(CALIBRANTS), init_only=True, description="The powder.")
    wavelength = Float64(
        unit="angstrom",
        default=0.5,
        minimum_exclusive=0.0,
        init_only=True,
        description="Of the X-rays.",
    )
    distance = Float64(
        unit="mm",
        default=100.0,
        minimum_exclusive=0.0,
        init_only=True,
        description="From sample to detector.",
    )
    pixel_size = Float64(unit="mm", default=0.15, minimum_exclusive=0.0, init_only=True)
    width = UInt32(default=512, minimum=1, maximum=8192, init_only=True, unit="pixel")
    height = UInt32(default=512, minimum=1, maximum=8192, init_only=True, unit="pixel")
    centre_x = Float64(default=256.0, unit="pixel", init_only=True, description="Of the beam.")
    centre_y = Float64(default=256.0, unit="pixel", init_only=True, description="Of the beam.")
    ring_width = Float64(default=1.5, unit="pixel", minimum_exclusive=0.0, init_only=True)
    photons = Float64(default=60.0, minimum=0.0, init_only=True, description="On the first ring.")
    background = Float64(default=2.0, minimum=0.0, init_only=True, description="Photons per pixel.")
    hot_pixels = UInt32(default=20, init_only=True, description="Pixels that count too much.")
    seed = UInt32(default=1, init_only=True, description="Of noise and hot pixels.")
    auto_start = Bool(default=False, init_only=True, description="Acquire from the start on.")
    frame_width = UInt32(read_only=True, unit="pixel", description="Of the latest frame.")
    frame_height = UInt32(read_only=True, unit="pixel", description="Of the latest frame.")
    frames_acquired = UInt64(read_only=True, description="Frames sent since the device's start.")
    frames_dropped = UInt64(
        read_only=True, description="Trains without a frame because an input held the camera."
    )
    last_train_id = UInt64(read_only=True, description="Train of the latest frame.")

    output = Output(Frame)

    async def on_initialize(self) -> None:
        """Open the source of frames."""
        self._source: FrameSource = await asyncio.to_thread(self._open)
        self._acquisition: asyncio.Task[Any] | None = None
        self.state = State.ON

    def _open(self) -> FrameSource:
        if not self.frames:
            self.status = "computes frames of a powder"
            return PowderFrames(PowderSettings(**{name: getattr(self, name) for name in _POWDER}))
        files = FileFrames(Path(self.frames).expanduser())
        left_out = f"; left out: {'; '.join(files.problems)}" if files.problems else ""
        self.status = f"plays {len(files)} frames of {self.frames}{left_out}"
        return files

    async def on_start(self) -> None:
        """Acquire, if so configured."""
        if self.auto_start:
            await self.start()

    @command(allowed_states={State.ON})
    async def start(self) -> None:
        """Begin to acquire frames."""
        self.state = State.ACQUIRING
        self._acquisition = self.spawn(self._acquire(), name="acquisition")

    @command(allowed_states={State.ACQUIRING})
    async def stop(self) -> None:
        """Stop acquiring; the stream of frames ends."""
        if self._acquisition is not None:
            self._acquisition.cancel()
            await asyncio.wait((self._acquisition,))
        await self.output.end_of_stream()
        self.state = State.ON

    async def _acquire(self) -> None:
        last_train = 0
        while True:
            at = await self._next_moment(last_train)
            if last_train and at.train_id > last_train + self.every:
                self.frames_dropped += (at.train_id - last_train - 1) // self.every
            last_train = at.train_id
            frame = await asyncio.to_thread(self._source.frame, self.frames_acquired)
            await self.output.write(_item(frame), timestamp=at)
            height, width = frame.shape
            self.set_values(
                {
                    "frames_acquired": self.frames_acquired + 1,
                    "last_train_id": at.train_id,
                    "frame_width": width,
                    "frame_height": height,
                },
                timestamp=at,
            )

    async def _next_moment(self, last_train: int) -> Timestamp:
        """Wait for the next train to take; without a train clock, for the next period."""
        reference = self.train_reference
        if reference is None:
            await asyncio.sleep(1.0 / self.frame_rate)
            return self.now()
        now_ns = self.clock.time_ns()
        train_id = max(reference.train_at(now_ns), last_train) + 1
        train_id += -train_id % self.every
        due_ns = reference.time_of(train_id)
        await asyncio.sleep(max(0.0, (due_ns - now_ns) / 1e9))
        return Timestamp.from_ns(due_ns, train_id)


def _item(frame: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "data.image.pixels": frame,
        "data.image.dims": np.array(frame.shape, np.uint64),
        "data.image.dimTypes": _DIM_TYPES,
        "data.image.encoding": GRAY,
        "data.image.bitsPerPixel": frame.dtype.itemsize * 8,
        "data.image.roiOffsets": np.zeros(2, np.uint64),
        "data.image.binning": np.ones(2, np.uint64),
        "data.image.rotation": 0,
        "data.image.flipX": False,
        "data.image.flipY": False,
    }
