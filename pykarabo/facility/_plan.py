"""What must be done so that a domain runs as its facility file says.

The plan is made from what the file says and from what was read of the domain; nothing is asked or
done here. Everything that stops comes first, then servers start, then devices, those before which
others name in their configurations, and properties are written in the same order.

The accounts service is of the domain, not of a file: where none names it, it is left alone.

What a file does not mention of a device is left as it is: a set-point that a scan has written is
no deviation, and writing it back may move something. The plan lists it all the same. So it is with
limits and other attributes that a device was given.
"""

from collections.abc import Mapping
from typing import Any

from ._attributes import WantedAttributes, new_attributes, wanted_attributes
from ._checking import Checked, CheckedFacility
from ._differences import differences, named_in, of_new, option_changes, why_init_only
from ._file import ACCOUNTS_CLASS
from ._running import Running, RunningDevice
from ._steps import Change, Kind, Plan, Step


def make_plan(
    checked: CheckedFacility, running: Running, *, keep: bool = False, reset: bool = False
) -> Plan:
    """Return what must be done.

    Args:
        keep: leave alone what runs and is not in the file.
        reset: write defaults where a device has something else that the file does not mention.
    """
    planner = _Planner(checked, running, keep=keep, reset=reset)
    planner.servers()
    planner.devices()
    return planner.plan()


class _Planner:
    def __init__(
        self, checked: CheckedFacility, running: Running, *, keep: bool, reset: bool
    ) -> None:
        self._wanted = checked.facility
        self._checked = checked.devices
        self._running = running
        self._keep = keep
        self._reset = reset
        self._homes = checked.facility.homes
        self._ending: dict[str, str] = {}
        self._beginning: dict[str, tuple[Change, ...]] = {}
        self._stops: dict[str, Step] = {}
        self._starts: dict[str, Step] = {}
        self._gives: dict[str, Step] = {}
        self._writes: dict[str, Step] = {}
        self._unlisted: dict[str, list[str]] = {}
        self._unlisted_attributes: dict[str, tuple[str, ...]] = {}
        self._notes: list[str] = []
        self._problems: list[str] = []

    # -- servers --------------------------------------------------------------------------------

    def servers(self) -> None:
        """Find out which servers end and begin."""
        for server_id, server in self._running.servers.items():
            if server_id not in self._wanted.servers:
                self._extra_server(server_id)
                continue
            wanted = self._wanted.servers[server_id]
            changes = option_changes(server, wanted, self._wanted.source_of(wanted))
            if changes:
                if not server.is_here:
                    self._problems.append(
                        f"server '{server_id}' must be restarted on its host {server.host}: "
                        "apply the file there"
                    )
                self._ending[server_id] = "its options change"
                self._beginning[server_id] = changes
        for server_id in self._wanted.servers:
            if server_id not in self._running.servers:
                self._beginning[server_id] = ()

    def _extra_server(self, server_id: str) -> None:
        if self._keep:
            self._notes.append(f"server '{server_id}' is not in the file, and is kept")
        elif not self._has_accounts(server_id):
            self._ending[server_id] = "it is not in the file"

    def _has_accounts(self, server_id: str) -> bool:
        devices = self._running.servers[server_id].devices.values()
        return any(device.class_id == ACCOUNTS_CLASS for device in devices)

    # -- devices --------------------------------------------------------------------------------

    def devices(self) -> None:
        """Find out which devices end, begin, and are written to."""
        for server_id, server in self._running.servers.items():
            for device_id, device in server.devices.items():
                self._one_that_runs(server_id, device_id, device)
        for device_id, home in self._homes.items():
            if device_id in self._running.others:
                self._problems.append(
                    f"device '{device_id}' runs in '{self._running.others[device_id]}', which no "
                    "facility file has started: stop it there"
                )
            elif device_id not in self._running.homes:
                checked = self._checked[device_id]
                self._start(device_id, home, checked.values, checked.attributes)

    def _one_that_runs(self, server_id: str, device_id: str, device: RunningDevice) -> None:
        if device_id not in self._homes:
            self._extra_device(server_id, device_id, device)
            return
        checked = self._checked[device_id]
        home = self._homes[device_id]
        apart = device_id in self._wanted.servers[home].own_process
        why = self._why_anew(server_id, home, device, checked, apart=apart)
        if device.class_id != checked.schema.class_id:
            self._stop(server_id, device, why)
            new = (*of_new(checked), *new_attributes(checked))
            self._start(device_id, home, checked.values, checked.attributes, why=why, changes=new)
            return
        changes, unlisted = differences(device, checked, reset=self._reset)
        values = {**unlisted, **checked.values}
        attributes = wanted_attributes(device, checked, values, reset=self._reset)
        self._unlisted_attributes[device_id] = attributes.unlisted
        if attributes.problem:
            self._problems.append(attributes.problem)
        why = why or why_init_only(checked, changes)
        if unlisted:
            self._unlisted[device_id] = list(unlisted)
        if why:
            self._stop(server_id, device, why)
            changes += attributes.changes
            self._start(device_id, home, values, attributes.given, why=why, changes=changes)
            return
        if attributes.changes:
            self._give(server_id, device, attributes)
        if changes:
            self._write(device, changes)

    def _extra_device(self, server_id: str, device_id: str, device: RunningDevice) -> None:
        ends = server_id in self._ending
        if device.class_id == ACCOUNTS_CLASS:
            if ends:
                self._problems.append(
                    f"server '{server_id}' must be restarted, and its accounts service "
                    f"'{device_id}' is not in the file: add it there"
                )
        elif self._keep and not ends:
            self._notes.append(f"device '{device_id}' is not in the file, and is kept")
        else:
            self._stop(server_id, device, "it is not in the file")

    def _why_anew(
        self, server_id: str, home: str, device: RunningDevice, checked: Checked, *, apart: bool
    ) -> str:
        """Return why a device must be started anew; empty if it need not."""
        if device.class_id != checked.schema.class_id:
            return f"class {device.class_id} -> {checked.schema.class_id}"
        if server_id != home:
            return f"server {server_id} -> {home}"
        if device.own_process != apart:
            return "it gets a process of its own" if apart else "it joins the others"
        return "its server restarts" if server_id in self._ending else ""

    def _stop(self, server_id: str, device: RunningDevice, why: str) -> None:
        self._stops[device.device_id] = Step(
            Kind.STOP,
            device.device_id,
            server_id,
            device.class_id,
            device.own_process,
            why,
            before=device.configuration,
            attributes_before=device.attributes or {},
        )

    def _start(
        self,
        device_id: str,
        home: str,
        values: Mapping[str, Any],
        attributes: Mapping[str, Mapping[str, Any]],
        *,
        why: str = "",
        changes: tuple[Change, ...] = (),
    ) -> None:
        checked = self._checked[device_id]
        if attributes:
            self._require_attributes(home, device_id)
        if not changes and device_id not in self._stops:
            changes = (*of_new(checked), *new_attributes(checked))
        self._starts[device_id] = Step(
            Kind.START,
            device_id,
            home,
            checked.schema.class_id,
            device_id in self._wanted.servers[home].own_process,
            why,
            changes,
            values=values,
            attributes=attributes,
        )

    def _give(self, server_id: str, device: RunningDevice, wanted: WantedAttributes) -> None:
        self._require_attributes(server_id, device.device_id)
        self._gives[device.device_id] = Step(
            Kind.GIVE,
            device.device_id,
            server_id,
            own_process=device.own_process,
            changes=wanted.changes,
            attributes=wanted.given,
            attributes_before=device.attributes or {},
        )

    def _require_attributes(self, server_id: str, device_id: str) -> None:
        """Note a problem if the server of a device is too old to give it attributes."""
        server = self._running.servers.get(server_id)
        if server is None or server.gives_attributes or server_id in self._ending:
            return
        self._problems.append(
            f"server '{server_id}' runs an older version, which cannot give '{device_id}' "
            f"attributes: restart it: pykarabo shutdown {server_id}"
        )

    def _write(self, device: RunningDevice, changes: tuple[Change, ...]) -> None:
        keys = [change.key for change in changes]
        self._writes[device.device_id] = Step(
            Kind.SET,
            device.device_id,
            changes=changes,
            values={change.key: change.new for change in changes},
            before={change.key: change.old for change in changes},
            expected={key: device.read[key] for key in keys if key in device.read},
        )

    # -- the whole ------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Return the steps in their order."""
        steps = [self._stops[name] for name in reversed(self._order(self._stops))]
        for server_id, why in self._ending.items():
            running = self._running.servers[server_id]
            steps.append(
                Step(
                    Kind.STOP_SERVER,
                    server_id,
                    why=why,
                    options=running.options,
                    time_source=running.time_source,
                )
            )
        for server_id in self._wanted.servers:
            if server_id in self._beginning:
                steps.append(self._begin(server_id))
        kinds = (self._starts, self._gives, self._writes)
        for name in self._order(self._gives | self._starts | self._writes):
            steps += (kind[name] for kind in kinds if name in kind)
        for device_id, keys in self._unlisted.items():
            shown = ", ".join(keys)
            self._notes.append(
                f"'{device_id}' has values that the file does not mention, and keeps them: {shown}"
            )
        for device_id, names in self._unlisted_attributes.items():
            if names:
                self._notes.append(
                    f"'{device_id}' has attributes that the file does not mention, and keeps "
                    f"them: {', '.join(names)}"
                )
        return Plan(tuple(steps), tuple(self._notes), tuple(self._problems))

    def _begin(self, server_id: str) -> Step:
        options = self._wanted.servers[server_id]
        return Step(
            Kind.START_SERVER,
            server_id,
            changes=self._beginning[server_id],
            options=options,
            time_source=self._wanted.source_of(options),
            why=self._ending.get(server_id, ""),
        )

    def _order(self, steps: Mapping[str, Step]) -> list[str]:
        """Return devices so that those come first which others name in their configurations."""
        order: dict[str, None] = {}
        path: list[str] = []

        def visit(device_id: str) -> None:
            if device_id in path:
                circle = " -> ".join([*path[path.index(device_id) :], device_id])
                note = f"devices name each other, in the order of the file: {circle}"
                if note not in self._notes:
                    self._notes.append(note)
                return
            if device_id in order:
                return
            path.append(device_id)
            for other in named_in({**steps[device_id].before, **steps[device_id].values}):
                if other in steps and other != device_id:
                    visit(other)
            path.pop()
            order[device_id] = None

        for device_id in [name for name in self._homes if name in steps] + list(steps):
            visit(device_id)
        return list(order)
