"""The run recorder: a device that records the sources of its domain, train by train."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pykarabo.data import AccessLevel, Float64, State, String, UInt32, UInt64, VectorString
from pykarabo.device import Device, command
from pykarabo.errors import PykaraboError, RunStateError
from pykarabo.transport import data_directory
from pykarabo_services.daq.model import (
    TRAINS_PER_FILE,
    ControlSource,
    InstrumentSource,
    RunManifest,
    RunSettings,
    RunSink,
    RunStore,
)
from pykarabo_services.kernel.feed import Selection, TrainFeed
from pykarabo_services.kernel.losses import LossReason, LossRecord
from pykarabo_services.kernel.trains import MatcherSettings, Train

# Half a train at 10 Hz: trains leave for the file soon after they are complete.
POLL_S: Final = 0.05
# What is older must survive this process; it is also how often the progress is shown.
FLUSH_NS: Final = 1_000_000_000
NANOSECONDS: Final = 1_000_000_000
RUNS_DIRECTORY: Final = "runs"


@dataclass(slots=True)
class _Run:
    """The run that is being recorded; `stop_ns` ends the waiting for late data."""

    feed: TrainFeed
    sink: RunSink
    task: "asyncio.Task[Any]"
    stop_ns: int | None = None


class RunRecorder(Device):
    """Records properties and pipeline items by train into the files of a run.

    Only one run is recorded at a time. All values of a run belong to trains announced by the
    train clock between start and stop; what is lost on the way is counted in the manifest.
    """

    data_directory = String(
        allowed_states={State.ON, State.ERROR},
        description="Where the directories of the runs are made; empty for the domain's own.",
    )
    devices = VectorString(
        default=["*"],
        allowed_states={State.ON, State.ERROR},
        description="Shell patterns of the devices whose properties are recorded.",
    )
    outputs = VectorString(
        default=["*"],
        allowed_states={State.ON, State.ERROR},
        description="Shell patterns of the outputs (DEVICE:output) whose items are recorded.",
    )
    excluded = VectorString(
        default=["DIRECTORY"],
        allowed_states={State.ON, State.ERROR},
        description="Shell patterns of the devices and outputs that are left out all the same.",
    )
    train_clock = String(
        allowed_states={State.ON, State.ERROR},
        description="The device that announces the trains; empty for the only one there is.",
    )
    proposal = UInt32(
        default=0, allowed_states={State.ON, State.ERROR}, description="Number of the proposal."
    )
    trains_per_file = UInt32(
        default=TRAINS_PER_FILE,
        minimum=1,
        allowed_states={State.ON, State.ERROR},
        description="Trains in one sequence file; readers see a file when it is full.",
    )
    maximum_delay = Float64(
        default=2.0,
        minimum=0.0,
        unit="s",
        allowed_states={State.ON, State.ERROR},
        description="How long a train waits for a source that sends nothing.",
    )
    maximum_memory = UInt32(
        default=2048,
        minimum=16,
        unit="MiB",
        allowed_states={State.ON, State.ERROR},
        description="How much data may wait for its train or for the disk.",
    )

    run = UInt32(read_only=True, description="Number of the present or last run.")
    run_directory = String(read_only=True, description="Where the present or last run is.")
    trains = UInt64(read_only=True, description="Trains in the files of the run.")
    first_train = UInt64(read_only=True, description="The run's first train.")
    last_train = UInt64(read_only=True, description="The newest train in the run's files.")
    files = UInt32(read_only=True, description="Closed sequence files of the run.")
    lost = UInt64(
        read_only=True,
        warn_high=0,
        description="Values and items of the run that are not in its files.",
    )
    waiting_memory = Float64(read_only=True, unit="MiB", description="Data that waits.")
    sources = UInt32(read_only=True, description="Devices and outputs that are recorded.")
    problems = VectorString(read_only=True, description="What could not be recorded, and why.")

    _run: "_Run | None" = None

    def open_store(self, directory: Path) -> RunStore:
        """Return the runs below a data directory; `main` says how they are kept."""
        raise NotImplementedError(str(directory))

    async def on_initialize(self) -> None:
        """Complete what a killed recorder left open."""
        recovered = await asyncio.to_thread(self._runs().recover)
        self.state = State.ON
        if recovered:
            runs = ", ".join(str(manifest.run) for manifest in recovered)
            self.status = f"recovered run {runs}, whose recorder was killed"

    async def on_stop(self) -> None:
        """End the run with what is here; nothing more is waited for."""
        if self._run is not None:
            self._run.feed.stop_trains()
            self._run.stop_ns = self.clock.monotonic_ns()
            await asyncio.wait((self._run.task,))

    # Commands

    @command(allowed_states={State.ON, State.ERROR})
    async def start_run(self, sample: str = "", run_type: str = "") -> dict[str, Any]:
        """Start a run with the next train; returns its number and directory."""
        self.set_values({"state": State.STARTING, "status": "looking for the sources"})
        feed = self._new_feed()
        try:
            await feed.open()
            sink = await self._begin(feed, sample, run_type)
        except BaseException as error:
            await feed.aclose()
            self.set_values({"state": State.ERROR, "status": f"no run was started: {error}"})
            raise
        run = sink.manifest.run
        self.set_values(
            {
                "state": State.ACQUIRING,
                "status": f"recording run {run}",
                "run": run,
                "run_directory": sink.manifest.directory,
            }
        )
        self._show(feed, sink)
        feed.start_trains()
        self._run = _Run(feed, sink, self.spawn(self._record(feed, sink), name="recording"))
        return {"run": run, "directory": sink.manifest.directory}

    @command(allowed_states={State.ACQUIRING})
    async def stop_run(self) -> dict[str, Any]:
        """Stop the run after the present train; returns what was recorded."""
        run = self._run
        if run is None:
            raise RunStateError("no run is being recorded", remedy="start one with start_run")
        self.set_values({"state": State.STOPPING, "status": f"finishing run {self.run}"})
        run.feed.stop_trains()
        run.stop_ns = self.clock.monotonic_ns() + round(self.maximum_delay * NANOSECONDS)
        await asyncio.wait((run.task,))
        return _summary(run.sink.manifest)

    @command(access_level=AccessLevel.OBSERVER)
    async def runs(self) -> list[Any]:
        """Return all runs below the data directory, oldest first."""
        found = await asyncio.to_thread(self._runs().runs)
        return [_summary(manifest) for manifest in found]

    @command(access_level=AccessLevel.OBSERVER)
    async def run_details(self, run: int) -> dict[str, Any]:
        """Return everything known about a run: files, sources and losses."""
        for manifest in await asyncio.to_thread(self._runs().runs):
            if manifest.run == run:
                return manifest.to_dict()
        raise RunStateError(f"there is no run {run}", remedy="list them with the command runs")

    # Starting

    def _runs(self) -> RunStore:
        place = self.data_directory or str(data_directory(self.client.domain) / RUNS_DIRECTORY)
        return self.open_store(Path(place))

    def _new_feed(self) -> TrainFeed:
        selection = Selection(
            devices=tuple(self.devices),
            outputs=tuple(self.outputs),
            excluded=(*self.excluded, self.device_id),
            train_clock=self.train_clock,
        )
        settings = MatcherSettings(
            maximum_delay_s=self.maximum_delay, maximum_bytes=self.maximum_memory << 20
        )
        return TrainFeed(self.client, selection, settings)

    async def _begin(self, feed: TrainFeed, sample: str, run_type: str) -> RunSink:
        settings = RunSettings(
            proposal=self.proposal,
            sample=sample,
            run_type=run_type,
            trains_per_file=self.trains_per_file,
        )
        controls = [
            ControlSource(device.device_id, device.schema, device.values)
            for device in feed.devices()
        ]
        instruments = [InstrumentSource(name, info) for name, info in feed.outputs().items()]
        return await asyncio.to_thread(
            self._runs().begin,
            settings,
            controls=controls,
            instruments=instruments,
            started_ns=self.clock.time_ns(),
        )

    # Recording

    async def _record(self, feed: TrainFeed, sink: RunSink) -> None:
        try:
            await self._write_trains(feed, sink)
            manifest = await asyncio.to_thread(sink.close, self.clock.time_ns(), _losses(feed))
            self.set_values({"state": State.ON, "status": _words(manifest)})
        except PykaraboError as error:
            await asyncio.to_thread(sink.abort, str(error), self.clock.time_ns(), _losses(feed))
            self.set_values({"state": State.ERROR, "status": str(error)})
            self.log.error("run %d was aborted: %s", sink.manifest.run, error)
        finally:
            self._run = None
            self._show(feed, sink)
            await feed.aclose()

    async def _write_trains(self, feed: TrainFeed, sink: RunSink) -> None:
        flushed_ns = self.clock.monotonic_ns()
        while not self._is_over(feed):
            await asyncio.sleep(POLL_S)
            now_ns = self.clock.monotonic_ns()
            trains = feed.matcher.advance(now_ns)
            if trains:
                await asyncio.to_thread(_write, sink, trains)
            if now_ns - flushed_ns >= FLUSH_NS:
                flushed_ns = now_ns
                feed.check()
                await asyncio.to_thread(sink.flush)
                self._show(feed, sink)
        await asyncio.to_thread(_write, sink, feed.matcher.finish())

    def _is_over(self, feed: TrainFeed) -> bool:
        stop_ns = None if self._run is None else self._run.stop_ns
        if stop_ns is None:
            return False
        return not feed.matcher.pending or self.clock.monotonic_ns() >= stop_ns

    def _show(self, feed: TrainFeed, sink: RunSink) -> None:
        manifest = sink.manifest
        lost = sink.lost + sum(record.count for record in _losses(feed))
        self.set_values(
            {
                "trains": manifest.trains,
                "first_train": manifest.first_train,
                "last_train": manifest.last_train,
                "files": len(manifest.files),
                "lost": lost,
                "waiting_memory": feed.matcher.nbytes / (1 << 20),
                "sources": len(feed.devices()) + len(feed.outputs()),
                "problems": feed.problems,
            }
        )


def _write(sink: RunSink, trains: list[Train]) -> None:
    for train in trains:
        sink.write(train)


def _losses(feed: TrainFeed) -> list[LossRecord]:
    """Return what is missing from the run's trains."""
    return [record for record in feed.matcher.losses() if record.reason != LossReason.OUTSIDE]


def _summary(manifest: RunManifest) -> dict[str, Any]:
    return {
        "run": manifest.run,
        "state": str(manifest.state),
        "directory": manifest.directory,
        "sample": manifest.sample,
        "run_type": manifest.run_type,
        "started_ns": manifest.started_ns,
        "stopped_ns": manifest.stopped_ns,
        "trains": manifest.trains,
        "first_train": manifest.first_train,
        "last_train": manifest.last_train,
        "files": len(manifest.files),
        "error": manifest.error,
    }


def _words(manifest: RunManifest) -> str:
    return f"run {manifest.run} holds {manifest.trains} trains in {len(manifest.files)} files"
