"""Recorded runs as the facility's reader and validator see them."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykarabo.data import OutputInfo, PropertyInfo, ValueType
from pykarabo_services.daq.model import InstrumentSource
from pykarabo_services.kernel.losses import LossReason

# None of them has type information.
extra_data: Any = import_module("extra_data")
validation: Any = import_module("extra_data.validation")
h5py: Any = import_module("h5py")

MOTOR = "SPB/MOTOR/1"
CAMERA = "SPB/CAM/1:daqOutput"
FIRST = 10_000_000_001


def opened(directory: Path | str, **options: Any) -> Any:
    return extra_data.RunDirectory(str(directory), parallelize=False, **options)


def problems(directory: Path) -> list[Any]:
    return list(validation.RunValidator(str(directory)).run_checks())


def losses(manifest: Any) -> dict[tuple[str, str, str], int]:
    return {
        (loss["source"], loss["key"], loss["reason"]): loss["count"] for loss in manifest.losses
    }


def test_a_run_passes_the_validator_and_has_its_name(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST + n) for n in range(30)])
    assert directory.name == "r0001"
    assert problems(directory) == []
    names = {path.name for path in directory.iterdir()}
    assert {"RAW-R0001-DA01-S00000.h5", "run.json"} <= names
    assert not [name for name in names if name.endswith(".part") or name.startswith(".")]


def test_images_come_back_bit_for_bit(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST + n) for n in range(25)])
    data = opened(directory)[CAMERA, "data.image.pixels"]
    expected = np.stack([facility.image(FIRST + n) for n in range(25)])
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data.ndarray(), expected)
    assert data.units == "#"
    with h5py.File(directory / "RAW-R0001-DA01-S00000.h5") as file:
        assert file[f"INSTRUMENT/{CAMERA}/data/image/pixels"].chunks == (1, 16, 24)
        assert all(item.chunks for item in file["INDEX"].values() if isinstance(item, h5py.Dataset))


def test_scalars_of_items_come_back(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST + n) for n in range(5)])
    run = opened(directory)
    exposure = run[CAMERA, "data.exposure"]
    np.testing.assert_array_equal(exposure.ndarray(), [(FIRST + n) / 7 for n in range(5)])
    assert exposure.units == "ms"
    bright = run[CAMERA, "data.bright"]
    assert bright.dtype == np.uint8
    np.testing.assert_array_equal(bright.ndarray(), [(FIRST + n) % 2 == 0 for n in range(5)])


def test_control_values_are_repeated_until_they_change(facility: Any) -> None:
    trains = [
        facility.train(FIRST + n, controls={"actualPosition": n / 4} if n % 7 == 3 else None)
        for n in range(40)
    ]
    directory = facility.record(trains)
    data = opened(directory)[MOTOR, "actualPosition"]
    expected = [train.controls[MOTOR]["actualPosition"] for train in trains]
    np.testing.assert_array_equal(data.ndarray(), [value.value for value in expected])
    times = opened(directory)[MOTOR, "actualPosition.timestamp"].ndarray()
    assert times.tolist() == [value.timestamp.to_ns() for value in expected]
    assert data.units == "mm"
    assert data.units_name == "millimeter"
    assert data.attributes()["description"] == "Where it is"
    assert data.attributes()["displayedName"] == "Position"


def test_every_type_of_property_comes_back(facility: Any) -> None:
    changes = {"state": "MOVING", "isOnTarget": False, "labels": ["", "zwei", "drei"]}
    directory = facility.record(
        [facility.train(FIRST), facility.train(FIRST + 1, controls=changes)]
    )
    run = opened(directory)

    def read(key: str) -> list[Any]:
        return list(run[MOTOR, key].ndarray().tolist())

    assert read("state") == [b"ON", b"MOVING"]
    assert read("isOnTarget") == [1, 0]
    assert read("drive.current") == [2.5, 2.5]
    assert read("drive.step") == [-3, -3]
    assert read("limits") == [[-5.0, 5.0, 0.0, 0.0]] * 2
    assert read("flags") == [[1, 0, 0]] * 2
    assert read("labels") == [["µ".encode(), b"two", b""], [b"", b"zwei", b"drei"]]
    assert run[MOTOR, "isOnTarget"].dtype == np.uint8
    assert run[MOTOR, "drive.step"].dtype == np.int32
    assert run[MOTOR, "drive.step"].attributes()["alias"] == "0x1234"
    keys = run[MOTOR].keys(inc_timestamps=False)
    assert keys.isdisjoint({"name", "table", "secret", "drive"})


def test_the_configuration_at_the_start_is_complete(facility: Any) -> None:
    directory = facility.record(
        [facility.train(FIRST + n, controls={"actualPosition": float(n)}) for n in range(3)]
    )
    source = opened(directory)[MOTOR]
    values = source.run_values(inc_timestamps=False)
    assert source.device_class == "Motor"
    assert values["name"] == "a motor"
    assert values["state"] == "ON"
    assert values["actualPosition"] == 1.25
    assert values["secret"] == 42
    np.testing.assert_array_equal(values["limits"], [-5.0, 5.0, 0.0, 0.0])


def test_metadata_names_the_run(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST)], sample="water", run_type="dark")
    found = opened(directory).run_metadata()
    assert found["dataFormatVersion"] == "1.3"
    assert (found["proposalNumber"], found["runNumber"]) == (900123, 1)
    assert found["daqLibrary"].startswith("pykarabo ")
    with h5py.File(directory / "RAW-R0001-DA01-S00000.h5") as file:
        metadata = file["METADATA"]
        assert metadata["sample"][0] == b"water"
        assert metadata["runType"][0] == b"dark"
        assert metadata["creationDate"].shape == (1,)
        assert len(metadata["updateDate"][0]) == len("20260921T141320Z")
        ids = [name.decode() for name in metadata["dataSources/dataSourceId"]]
        assert ids == [f"CONTROL/{MOTOR}", f"INSTRUMENT/{CAMERA}/data"]


def test_a_run_is_cut_into_sequence_files(facility: Any) -> None:
    trains = [
        facility.train(FIRST + n, controls={"drive.step": n} if n in (4, 17) else None)
        for n in range(25)
    ]
    directory = facility.record(trains, trains_per_file=10)
    assert problems(directory) == []
    files = sorted(path.name for path in directory.glob("*.h5"))
    assert files == [f"RAW-R0001-DA01-S{n:05d}.h5" for n in range(3)]
    run = opened(directory)
    assert run.train_ids == [FIRST + n for n in range(25)]
    assert run[MOTOR, "drive.step"].ndarray().tolist() == [-3] * 4 + [4] * 13 + [17] * 8
    assert run[CAMERA, "data.image.pixels"].shape == (25, 16, 24)
    with h5py.File(directory / files[2]) as file:
        assert file["METADATA/sequenceNumber"][0] == 2
        assert file["INDEX/trainId"].shape == (5,)
        assert file[f"INDEX/{CAMERA}/data/first"][:].tolist() == [0, 1, 2, 3, 4]


def test_trains_without_or_with_several_images_keep_their_place(facility: Any) -> None:
    counts = [1, 0, 0, 3, 1, 0, 2, 0]
    trains: list[Any] = []
    for n, count in enumerate(counts):
        items = [
            {**facility.camera_item(FIRST + n), "data.exposure": n + i / 10} for i in range(count)
        ]
        trains.append(facility.train(FIRST + n, items={CAMERA: items}))
    directory = facility.record(trains, trains_per_file=5)
    assert problems(directory) == []
    run = opened(directory)
    assert run[CAMERA, "data.exposure"].data_counts().tolist() == counts
    assert run[CAMERA, "data.exposure"].ndarray().tolist() == [0, 3, 3.1, 3.2, 4, 6, 6.1]
    with h5py.File(directory / "RAW-R0001-DA01-S00000.h5") as file:
        assert file[f"INDEX/{CAMERA}/data/first"][:].tolist() == [0, 1, 1, 1, 4]
        assert file[f"INSTRUMENT/{CAMERA}/data/trainId"][:].tolist() == [
            FIRST,
            FIRST + 3,
            FIRST + 3,
            FIRST + 3,
            FIRST + 4,
        ]


def test_missing_train_ids_are_absent(facility: Any) -> None:
    ids = [FIRST, FIRST + 1, FIRST + 5, FIRST + 20]
    directory = facility.record([facility.train(train_id) for train_id in ids])
    assert problems(directory) == []
    run = opened(directory)
    assert run.train_ids == ids
    _, data = run.train_from_id(FIRST + 5)
    np.testing.assert_array_equal(data[CAMERA]["data.image.pixels"], facility.image(FIRST + 5))


def test_suspect_trains_and_origins_are_marked(facility: Any) -> None:
    trains = [
        facility.train(FIRST),
        facility.train(FIRST + 1, suspect=True, origin=CAMERA),
        facility.train(FIRST + 2, origin=MOTOR),
    ]
    directory = facility.record(trains)
    with h5py.File(directory / "RAW-R0001-DA01-S00000.h5") as file:
        assert file["INDEX/flag"][:].tolist() == [1, 0, 1]
        assert file["INDEX/origin"][:].tolist() == [-1, 1, 0]
        times = [facility.time_of(FIRST + n) for n in range(3)]
        assert file["INDEX/timestamp"][:].tolist() == times
        assert file["INDEX/flag"].dtype == np.int32
    strict = opened(directory, inc_suspect_trains=False)
    assert strict.train_ids == [FIRST, FIRST + 2]


def test_a_silent_output_with_a_schema_is_listed_without_data(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST + n, items={}) for n in range(4)])
    assert problems(directory) == []
    data = opened(directory)[CAMERA, "data.image.pixels"]
    assert data.shape == (0, 16, 24)
    assert data.data_counts().tolist() == [0, 0, 0, 0]


def test_an_output_without_a_schema_takes_types_from_its_first_item(facility: Any) -> None:
    def items(n: int) -> dict[str, Any]:
        if n < 12:
            return {}
        spectrum = np.arange(n, n + 5, dtype=np.float32)
        return {"ADC:out": [{"spectrum": spectrum, "digitizers.n": n, "digitizers.note": f"µ{n}"}]}

    trains = [facility.train(FIRST + n, items=items(n)) for n in range(20)]
    directory = facility.record(trains, instruments=[InstrumentSource("ADC:out")])
    assert problems(directory) == []
    run = opened(directory)
    assert len(list(directory.glob("*.h5"))) == 2, "a new dataset needs the next file"
    assert run["ADC:out", "data.spectrum"].dtype == np.float32
    assert run["ADC:out", "data.spectrum"].shape == (8, 5)
    assert run["ADC:out", "digitizers.n"].ndarray().tolist() == list(range(12, 20))
    assert run["ADC:out", "digitizers.note"].ndarray()[0] == "µ12".encode()
    assert run["ADC:out"].data_counts(index_group="data").sum() == 8


def test_an_output_whose_shape_is_free_takes_it_from_the_first_item(facility: Any) -> None:
    pixels = PropertyInfo(
        key="data.pixels", value_type=ValueType.ARRAY, dtype="int32", shape=(None, None)
    )
    output = OutputInfo(name="out", description="", properties=(pixels,))
    trains = [
        facility.train(FIRST + n, items={"C:out": [{"data.pixels": np.full((3, 4), n, "i4")}]})
        for n in range(3)
    ]
    directory = facility.record(trains, instruments=[InstrumentSource("C:out", output)])
    assert problems(directory) == []
    data = opened(directory)["C:out", "data.pixels"]
    assert data.ndarray()[:, 0, 0].tolist() == [0, 1, 2]


def test_a_pulse_resolved_group_has_one_entry_per_pulse(facility: Any) -> None:
    output = OutputInfo(
        name="xtdf",
        description="",
        properties=(
            PropertyInfo(
                key="image.data",
                value_type=ValueType.ARRAY,
                dtype="uint16",
                shape=(None, 4, 6),
                tags=("pulse",),
            ),
            PropertyInfo(key="image.pulseId", value_type=ValueType.ARRAY, dtype="uint64"),
            PropertyInfo(key="header.pulseCount", value_type=ValueType("uint64")),
        ),
    )
    name = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
    pulses = [3, 0, 2]
    frames = [np.full((count, 4, 6), n, np.uint16) for n, count in enumerate(pulses)]
    trains = [
        facility.train(
            FIRST + n,
            items={
                name: [
                    {
                        "image.data": frames[n],
                        "image.pulseId": np.arange(count, dtype=np.uint64),
                        "header.pulseCount": count,
                    }
                ]
            },
        )
        for n, count in enumerate(pulses)
    ]
    directory = facility.record(trains, instruments=[InstrumentSource(name, output)])
    assert problems(directory) == []
    run = opened(directory)
    assert run[name, "image.data"].data_counts().tolist() == pulses
    assert run[name, "header.pulseCount"].data_counts().tolist() == [1, 1, 1]
    np.testing.assert_array_equal(run[name, "image.data"].ndarray(), np.concatenate(frames))
    assert run[name, "image.pulseId"].ndarray().tolist() == [0, 1, 2, 0, 1]


def test_an_image_of_another_shape_is_blank_and_counted(facility: Any) -> None:
    wrong = {**facility.camera_item(FIRST + 1), "data.image.pixels": np.ones((3, 3), np.uint16)}
    trains = [facility.train(FIRST), facility.train(FIRST + 1, items={CAMERA: [wrong]})]
    writer = facility.begin()
    for train in trains:
        writer.write(train)
    manifest = facility.finish(writer)
    assert losses(manifest) == {(CAMERA, "data.image.pixels", "unfit"): 1}
    assert manifest.losses[0]["trains"] == [[FIRST + 1, FIRST + 1]]
    data = opened(manifest.directory)[CAMERA, "data.image.pixels"].ndarray()
    np.testing.assert_array_equal(data[0], facility.image(FIRST))
    assert not data[1].any()


def test_keys_that_are_missing_or_unknown_are_counted(facility: Any) -> None:
    item = {"data.image.pixels": facility.image(FIRST), "data.bright": True, "data.extra": 1}
    writer = facility.begin()
    writer.write(facility.train(FIRST, items={CAMERA: [item], "OTHER:out": [{"a": 1}]}))
    manifest = facility.finish(writer)
    assert losses(manifest) == {
        (CAMERA, "data.exposure", "absent"): 1,
        (CAMERA, "data.extra", "undeclared"): 1,
        ("OTHER:out", "", "undeclared"): 1,
    }
    exposure = opened(manifest.directory)[CAMERA, "data.exposure"].ndarray()
    assert np.isnan(exposure).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actualPosition", "far"),
        ("drive.step", 1 << 40),
        ("limits", [1.0] * 5),
        ("isOnTarget", 2),
        ("state", "x" * 300),
        ("labels", [1, 2]),
    ],
)
def test_a_value_that_does_not_fit_is_counted_in_every_train(
    facility: Any, key: str, value: Any
) -> None:
    good = facility.values[key].value
    writer = facility.begin()
    writer.write(facility.train(FIRST))
    writer.write(facility.train(FIRST + 1, controls={key: value}))
    writer.write(facility.train(FIRST + 2))
    writer.write(facility.train(FIRST + 3, controls={key: good}))
    manifest = facility.finish(writer)
    assert problems(Path(manifest.directory)) == []
    assert losses(manifest) == {(MOTOR, key, "unfit"): 2}
    data = opened(manifest.directory)[MOTOR, key].ndarray()
    np.testing.assert_array_equal(data[0], data[3])
    blank = data[1:3]
    assert np.isnan(blank).all() if blank.dtype.kind == "f" else not blank.astype(bool).any()


def test_a_time_that_goes_back_is_held_and_counted(facility: Any) -> None:
    writer = facility.begin()
    writer.write(facility.train(FIRST, controls={"actualPosition": 1.0}))
    older = facility.stamped({"actualPosition": 2.0}, FIRST - 5)
    facility.values = {**facility.values, **older}
    writer.write(facility.train(FIRST + 1))
    manifest = facility.finish(writer)
    assert problems(Path(manifest.directory)) == []
    assert losses(manifest) == {(MOTOR, "actualPosition", str(LossReason.CLAMPED)): 1}
    data = opened(manifest.directory)[MOTOR, "actualPosition"].ndarray()
    assert data.tolist() == [1.0, 2.0]


def test_values_without_a_time_get_that_of_their_train(facility: Any) -> None:
    facility.values = {
        key: value._replace(timestamp=value.timestamp._replace(seconds=0, fraction=0))
        for key, value in facility.values.items()
    }
    facility.initial = facility.values
    directory = facility.record([facility.train(FIRST + n) for n in range(3)])
    assert problems(directory) == []
    times = opened(directory)[MOTOR, "actualPosition.timestamp"].ndarray()
    assert times.tolist() == [facility.time_of(FIRST)] * 3
