"""The host's own measurements."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pykarabo.data import (
    Float64,
    State,
    UInt32,
    VectorFloat64,
    VectorString,
)
from pykarabo.device import Device

_MIB = 2**20
_PSEUDO_FILESYSTEMS = frozenset({"squashfs", "overlay", "tmpfs", "devtmpfs", "autofs"})


class HostSensors:
    """Reads the host through psutil; each sensor can fail on its own.

    Attributes:
        problems: why sensors gave no value at the last reading, by sensor.
    """

    def __init__(self) -> None:
        import psutil  # takes 20 ms, which only this device pays

        self._psutil = psutil
        self._network: tuple[float, int, int] | None = None
        self.problems: dict[str, str] = {}
        psutil.cpu_percent()

    def read(self) -> dict[str, Any]:
        """Return every measurement by property name; blocks for some milliseconds."""
        self.problems = {}
        values: dict[str, Any] = {}
        sensors: tuple[Callable[[], dict[str, Any]], ...] = (
            self._cpu,
            self._memory,
            self._disks,
            self._traffic,
            self._temperatures,
            self._system,
        )
        for sensor in sensors:
            try:
                values |= sensor()
            except (OSError, self._psutil.Error, AttributeError, RuntimeError) as error:
                self.problems[sensor.__name__.strip("_")] = str(error) or type(error).__name__
        return values

    def _cpu(self) -> dict[str, Any]:
        one, five, fifteen = self._psutil.getloadavg()
        return {
            "cpu_load": self._psutil.cpu_percent(),
            "cpu_count": self._psutil.cpu_count() or 0,
            "load_1min": one,
            "load_5min": five,
            "load_15min": fifteen,
        }

    def _memory(self) -> dict[str, Any]:
        memory, swap = self._psutil.virtual_memory(), self._psutil.swap_memory()
        return {
            "memory_total": memory.total / _MIB,
            "memory_used": (memory.total - memory.available) / _MIB,
            "memory_available": memory.available / _MIB,
            "swap_used": swap.used / _MIB,
        }

    def _disks(self) -> dict[str, Any]:
        names: list[str] = []
        used: list[float] = []
        free: list[float] = []
        for partition in self._psutil.disk_partitions(all=False):
            if partition.fstype in _PSEUDO_FILESYSTEMS:
                continue
            usage = self._psutil.disk_usage(partition.mountpoint)
            names.append(partition.mountpoint)
            used.append(usage.percent)
            free.append(usage.free / _MIB)
        return {"disk_names": names, "disk_used": used, "disk_free": free}

    def _traffic(self) -> dict[str, Any]:
        counters, now = self._psutil.net_io_counters(), time.monotonic()
        before, self._network = self._network, (now, counters.bytes_recv, counters.bytes_sent)
        if before is None or now <= before[0]:
            return {}
        elapsed = now - before[0]
        return {
            "network_received": max(0, counters.bytes_recv - before[1]) / elapsed / 1e6,
            "network_sent": max(0, counters.bytes_sent - before[2]) / elapsed / 1e6,
        }

    def _temperatures(self) -> dict[str, Any]:
        found = self._psutil.sensors_temperatures()
        pairs = [
            (f"{chip}/{sensor.label or number}", float(sensor.current))
            for chip, sensors in found.items()
            for number, sensor in enumerate(sensors)
        ]
        return {
            "temperature_names": [name for name, _value in pairs],
            "temperatures": [value for _name, value in pairs],
        }

    def _system(self) -> dict[str, Any]:
        return {
            "uptime": time.time() - self._psutil.boot_time(),
            "process_count": len(self._psutil.pids()),
        }


class HostMonitor(Device):
    """Watches the host that it runs on: processors, memory, disks, network, temperatures."""

    interval = Float64(
        unit="s", default=1.0, minimum=0.1, maximum=3600.0, description="Time between readings."
    )
    cpu_load = Float64(
        unit="percent", read_only=True, warn_high=95.0, description="Of all processors."
    )
    cpu_count = UInt32(read_only=True, description="Logical processors.")
    load_1min = Float64(read_only=True, description="Mean length of the run queue, 1 min.")
    load_5min = Float64(read_only=True, description="Mean length of the run queue, 5 min.")
    load_15min = Float64(read_only=True, description="Mean length of the run queue, 15 min.")
    memory_total = Float64(unit="MiB", read_only=True, description="Main memory.")
    memory_used = Float64(unit="MiB", read_only=True, description="Memory not available.")
    memory_available = Float64(
        unit="MiB", read_only=True, description="Memory that programs can still have."
    )
    swap_used = Float64(unit="MiB", read_only=True, description="Swap space in use.")
    disk_names = VectorString(read_only=True, description="Where the disks are mounted.")
    disk_used = VectorFloat64(unit="percent", read_only=True, description="Of each disk.")
    disk_free = VectorFloat64(unit="MiB", read_only=True, description="Of each disk.")
    network_received = Float64(
        unit="megabyte/s", read_only=True, description="By all interfaces together."
    )
    network_sent = Float64(
        unit="megabyte/s", read_only=True, description="By all interfaces together."
    )
    temperature_names = VectorString(
        read_only=True, description="The host's sensors; empty where it shows none."
    )
    temperatures = VectorFloat64(unit="degC", read_only=True, description="Of each sensor.")
    uptime = Float64(unit="s", read_only=True, description="Since the host was started.")
    process_count = UInt32(read_only=True, description="Processes on the host.")

    async def on_initialize(self) -> None:
        """Take the first reading, so that no value is ever made up."""
        self._sensors = await asyncio.to_thread(HostSensors)
        await self._read()
        self.state = State.MONITORING

    async def on_start(self) -> None:
        """Read at the interval set."""
        while True:
            await asyncio.sleep(self.interval)
            await self._read()

    async def _read(self) -> None:
        values = await asyncio.to_thread(self._sensors.read)
        problems = "; ".join(f"{name}: {why}" for name, why in self._sensors.problems.items())
        status = f"no value from {problems}" if problems else "all sensors read"
        if status != self.status:
            values["status"] = status
        self.set_values(values)
