"""The clock of a facility's trains."""

import asyncio

from pykarabo.data import Float64, State, Timestamp, UInt64
from pykarabo.device import Device


class TrainClock(Device):
    """Gives every train its id, by default ten times a second; time source of the others.

    Train k begins at k periods after 1970 (plus `first_train_id`, where that is set, counted from
    the clock's start), so ids go on increasing when the clock is restarted. The value of each
    tick carries the train's own time, however late it is published.
    """

    period = Float64(
        unit="s",
        default=0.1,
        minimum=0.001,
        maximum=3600.0,
        init_only=True,
        description="Time between trains.",
    )
    first_train_id = UInt64(
        init_only=True, description="Id of the first train; 0 derives it from UTC."
    )
    train_id = UInt64(read_only=True, description="The present train.")
    skipped = UInt64(
        read_only=True, description="Trains that were not announced because the host was late."
    )

    async def on_start(self) -> None:
        """Tick."""
        period_ns = round(self.period * 1e9)
        start_ns = self.clock.time_ns()
        train_id = self.first_train_id or start_ns // period_ns + 1
        origin_ns = start_ns if self.first_train_id else train_id * period_ns
        first = train_id
        self.state = State.ON
        while True:
            due_ns = origin_ns + (train_id - first) * period_ns
            await asyncio.sleep(max(0.0, (due_ns - self.clock.time_ns()) / 1e9))
            late = (self.clock.time_ns() - due_ns) // period_ns
            if late > 0:
                self.skipped += late
                train_id += late
                due_ns += late * period_ns
            self.set_values({"train_id": train_id}, timestamp=Timestamp.from_ns(due_ns, train_id))
            train_id += 1
