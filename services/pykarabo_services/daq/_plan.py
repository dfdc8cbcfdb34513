"""Everything a run records: the columns of all sources, and where their losses are counted."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pykarabo import __version__
from pykarabo.data import PropertyValue
from pykarabo_services.daq._image import FORMAT_VERSION, FileLayout, RunValue
from pykarabo_services.daq._items import OutputLayout
from pykarabo_services.daq._records import ControlColumn, ControlRecorder, OutputRecorder
from pykarabo_services.daq.layout import Column, Row, control_columns, run_columns
from pykarabo_services.daq.model import ControlSource, InstrumentSource, SourceRecord
from pykarabo_services.kernel.losses import LossCounter, LossReason
from pykarabo_services.kernel.trains import Train

# Readers ask for the class of a device under this key.
CLASS_ID = "classId"


class RunPlan:
    """The recorders of all sources of a run."""

    def __init__(
        self,
        controls: Iterable[ControlSource],
        instruments: Iterable[InstrumentSource],
        *,
        started_ns: int,
    ) -> None:
        self.losses = LossCounter()
        self._started_ns = started_ns
        self._configurations: dict[str, Sequence[RunValue]] = {}
        self._skipped: dict[str, tuple[str, ...]] = {}
        self.controls = {source.device_id: self._control(source) for source in controls}
        self.outputs = {
            source.name: OutputRecorder(OutputLayout(source.name, source.output), self.losses)
            for source in instruments
        }
        self.layout = self.file_layout({})
        self.origins = self.layout.origins()
        self._trains = 0

    def _control(self, source: ControlSource) -> ControlRecorder:
        plain = {key: value.value for key, value in source.values.items()}
        columns, skipped = control_columns(source.schema, plain)
        self._skipped[source.device_id] = skipped
        self._configurations[source.device_id] = self._configuration(source)
        recorded = {
            column.key: ControlColumn(
                column,
                source.values.get(column.key),
                self._time_of(source.values.get(column.key)),
            )
            for column in columns
        }
        return ControlRecorder(
            source.device_id,
            recorded,
            skipped=[key for key in source.schema.properties if key not in recorded],
            losses=self.losses,
        )

    def _configuration(self, source: ControlSource) -> list[RunValue]:
        plain = {key: value.value for key, value in source.values.items()}
        columns, _ = run_columns(source.schema, plain)
        values = [
            RunValue(column, row, self._time_of(source.values.get(column.key)))
            for column in columns
            if column.key in plain and (row := column.convert(plain[column.key])) is not None
        ]
        if CLASS_ID not in {value.column.key for value in values}:
            column, row = _class_value(source.schema.class_id)
            values.append(RunValue(column, row, self._started_ns))
        return values

    def _time_of(self, value: PropertyValue | None) -> int:
        return (value.timestamp.to_ns() if value is not None else 0) or self._started_ns

    def resolve(self, trains: Iterable[Train]) -> bool:
        """Fix the datasets of outputs by their first items; True when the layout changed."""
        waiting = [name for name, output in self.outputs.items() if not output.is_settled]
        changed = False
        for train in trains if waiting else ():
            for name in waiting:
                for item in train.items.get(name, ())[:1]:
                    changed |= self.outputs[name].resolve(item)
        return changed

    def stage(self, train: Train, row: int) -> None:
        """Turn a train into rows; `row` is its number in the file."""
        self._trains += 1
        for recorder in self.controls.values():
            recorder.stage(train, row=row)
        for name, output in self.outputs.items():
            output.stage(train.train_id, train.items.get(name, ()))
        for name in train.controls.keys() - self.controls.keys():
            self.losses.add(name, LossReason.UNDECLARED, train_id=train.train_id)
        for name in train.items.keys() - self.outputs.keys():
            count = len(train.items[name])
            self.losses.add(name, LossReason.UNDECLARED, train_id=train.train_id, count=count)

    def restart(self) -> None:
        """Begin a new file with the newest values."""
        for recorder in self.controls.values():
            recorder.restart()

    def file_layout(self, metadata: Mapping[str, str | int]) -> FileLayout:
        """Return the datasets of the next file; outputs that sent nothing yet are left out."""
        self.layout = FileLayout(
            metadata={
                "dataFormatVersion": FORMAT_VERSION,
                "daqLibrary": f"pykarabo {__version__}",
                "karaboFramework": f"pykarabo {__version__}",
                **metadata,
            },
            controls={
                name: [column.column for column in recorder.columns.values()]
                for name, recorder in self.controls.items()
            },
            configurations=self._configurations,
            instruments={
                name: {group: rows.group for group, rows in output.rows.items()}
                for name, output in self.outputs.items()
                if output.rows
            },
        )
        self.origins = self.layout.origins()
        return self.layout

    def source_records(self) -> tuple[SourceRecord, ...]:
        """Return what was recorded of every source."""
        controls = [
            SourceRecord(
                name=name,
                section="CONTROL",
                entries=self._trains,
                keys=len(recorder.columns),
                skipped_keys=self._skipped[name],
            )
            for name, recorder in self.controls.items()
        ]
        outputs = [
            SourceRecord(
                name=name,
                section="INSTRUMENT",
                entries=output.entries,
                keys=sum(len(rows.keys) for rows in output.rows.values()),
                skipped_keys=output.layout.skipped,
            )
            for name, output in self.outputs.items()
        ]
        return (*controls, *outputs)


def _class_value(class_id: str) -> tuple[Column, Row]:
    data = class_id.encode()
    column = Column(key=CLASS_ID, dtype=np.dtype(("S", max(len(data), 1))), shape=(), attributes={})
    return column, np.array(data, dtype=column.dtype)
