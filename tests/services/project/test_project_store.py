"""Projects in a database: whole, in their order, and never overwritten unseen."""

import asyncio
from dataclasses import replace

import pytest

from pykarabo.errors import (
    BadConfigurationError,
    ChangedMeanwhileError,
    InvalidNameError,
    UnknownItemError,
)
from pykarabo.testing import async_test
from pykarabo_services.project.model import Changes, Item, Kind, Saved, new_uuid
from pykarabo_services.project.trees import changes_between
from tests.harness.databases import Databases
from tests.harness.projects import ADA, BOB, SCENE, example, item, named, shelf, values


def plain(items: list[Item]) -> list[tuple[object, ...]]:
    return [
        (found.uuid, found.kind, found.name, found.parent, dict(found.attributes), found.text)
        for found in items
    ]


def ordered(parent: Item, *children: Item) -> Changes:
    return Changes(
        order={parent.uuid: [child.uuid for child in children]},
        parents={parent.uuid: parent.version},
    )


@async_test
async def test_project_comes_back_as_it_was_saved_and_in_its_order(databases: Databases) -> None:
    async with shelf(databases) as room:
        project = example()
        stored = await room.fill(project)
        assert sorted(plain(stored), key=str) == sorted(plain(project), key=str)
        assert [found.name for found in stored] == [
            *("Overview", "Main", "Čerenkov", "scan", "SPB/SERVER/1", "SPB/MOTOR/1"),
            *("fast", "slow"),
        ]
        assert {found.version for found in stored} == {1}
        assert {(found.saved_by, found.saved_ns) for found in stored} == {(ADA.name, ADA.at_ns)}


@async_test
async def test_list_tells_folder_number_and_who_saved_last(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        await room.fill(example("Another", ""))
        scene = replace(named(stored, "Main"), text=SCENE.replace("4", "5"))
        await room.store.save(Changes(items=[scene]), BOB)
        another, overview = await room.store.projects()
        assert (another.name, another.folder, another.saved_by) == ("Another", "", ADA.name)
        assert (overview.folder, overview.items, overview.saved_by, overview.saved_ns) == (
            *("SPB/Optics", 8, BOB.name, BOB.at_ns),
        )
        assert overview.description == "All of it."
        await room.store.note_loaded(overview.uuid, at_ns=77)
        assert [record.last_loaded_ns for record in await room.store.projects()] == [0, 77]


@async_test
async def test_C2_second_of_two_editors_gets_a_conflict_that_names_the_first(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        scene = named(await room.fill(), "Main")
        first = replace(scene, text=SCENE.replace("4", "5"))
        second = replace(scene, text=SCENE.replace("4", "6"))
        await room.store.save(Changes(items=[first]), BOB)
        with pytest.raises(
            ChangedMeanwhileError,
            match=r"scene 'Main' was saved by bob@hutch at 2026-09-21 14:14:20\+00:00 since you",
        ) as caught:
            await room.store.save(Changes(items=[second]), ADA)
        [conflict] = caught.value.details["conflicts"]
        assert conflict == {
            "uuid": scene.uuid,
            "kind": "scene",
            "name": "Main",
            "version": 2,
            "saved_by": BOB.name,
            "saved_ns": BOB.at_ns,
        }
        assert named(await room.load(), "Main").text == first.text
        await room.store.save(Changes(items=[second]), ADA, overwrite=True)
        assert named(await room.load(), "Main").text == second.text


@async_test
async def test_C2_of_many_savers_at_once_one_wins_each_round(databases: Databases) -> None:
    async with shelf(databases) as room:
        scene = named(await room.fill(), "Main")
        for version in range(1, 6):
            texts = [SCENE.replace("4", f"{version}{number}") for number in range(8)]
            outcomes = await asyncio.gather(
                *(
                    room.store.save(
                        Changes(items=[replace(scene, text=text, version=version)]), BOB
                    )
                    for text in texts
                ),
                return_exceptions=True,
            )
            won = [
                text
                for text, end in zip(texts, outcomes, strict=True)
                if not isinstance(end, BaseException)
            ]
            lost = [end for end in outcomes if isinstance(end, ChangedMeanwhileError)]
            assert len(won) == 1
            assert len(lost) == 7
            assert named(await room.load(), "Main").text == won[0]


@async_test
async def test_C2_batch_with_one_conflict_does_nothing(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        await room.store.save(Changes(items=[named(stored, "scan")]), BOB)
        main = replace(named(stored, "Main"), text=SCENE.replace("4", "7"))
        with pytest.raises(ChangedMeanwhileError, match="macro 'scan' was saved by bob"):
            await room.store.save(Changes(items=[main, named(stored, "scan")]), ADA)
        assert named(await room.load(), "Main").text == SCENE


@async_test
async def test_C2_two_people_add_scenes_to_one_project_at_once(databases: Databases) -> None:
    async with shelf(databases) as room:
        root = (await room.fill())[0]
        new = [item(Kind.SCENE, name, root, text=SCENE) for name in ("Ada's", "Bob's")]
        await asyncio.gather(*(room.store.save(Changes(items=[scene]), BOB) for scene in new))
        scenes = [found for found in await room.load() if found.kind is Kind.SCENE]
        assert {found.name for found in scenes[2:]} == {"Ada's", "Bob's"}
        assert [found.position for found in scenes] == [0, 1, 2, 3]


@async_test
async def test_C2_removing_what_somebody_has_changed_below_is_refused(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        fast = named(stored, "fast")
        await room.store.save(Changes(items=[replace(fast, text=values(velocity=3.0))]), BOB)
        names = ("SPB/SERVER/1", "SPB/MOTOR/1", "fast", "slow")
        known = {named(stored, name).uuid: 1 for name in names}
        with pytest.raises(ChangedMeanwhileError, match="configuration 'fast' was saved by bob"):
            await room.store.save(Changes(removed=known), ADA)
        with pytest.raises(ChangedMeanwhileError, match="and would go unread, and 2 more"):
            await room.store.save(Changes(removed={named(stored, names[0]).uuid: 1}), ADA)
        await room.store.save(Changes(removed=known | {fast.uuid: 2}), ADA)
        left = [found.name for found in await room.load()]
        assert left == ["Overview", "Main", "Čerenkov", "scan"]


@async_test
async def test_C2_saving_what_was_removed_is_refused(databases: Databases) -> None:
    async with shelf(databases) as room:
        scene = named(await room.fill(), "Main")
        await room.store.save(Changes(removed={scene.uuid: 1}), BOB)
        with pytest.raises(ChangedMeanwhileError, match="scene 'Main' was removed since"):
            await room.store.save(Changes(items=[scene]), ADA)


@async_test
async def test_order_is_kept_and_changed_as_a_whole(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        root, main, other = stored[0], named(stored, "Main"), named(stored, "Čerenkov")
        await room.store.save(ordered(root, other, main), BOB)
        scenes = [found.name for found in await room.load() if found.kind is Kind.SCENE]
        assert scenes == ["Čerenkov", "Main"]
        with pytest.raises(ChangedMeanwhileError, match="in 'Overview' are other items"):
            await room.store.save(ordered((await room.load())[0], main), BOB)
        assert named(await room.load(), "Main").version == 1, "an order is no change of an item"


@async_test
async def test_C2_second_of_two_who_put_items_in_order_gets_a_conflict(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        root, main, other = stored[0], named(stored, "Main"), named(stored, "Čerenkov")
        assert await room.store.save(ordered(root, main, other), BOB) == Saved(
            versions={}, projects=[root.uuid]
        ), "they were in this order"
        saved = await room.store.save(ordered(root, other, main), BOB)
        assert saved.versions == {root.uuid: 2}
        with pytest.raises(ChangedMeanwhileError, match="project 'Overview' was saved by bob"):
            await room.store.save(ordered(root, main, other), ADA)
        [record] = await room.store.projects()
        assert (record.version, record.saved_by, record.saved_ns) == (2, BOB.name, BOB.at_ns)
        blind = Changes(order={root.uuid: [main.uuid, other.uuid]})
        with pytest.raises(BadConfigurationError, match="not said which version of it was read"):
            await room.store.save(blind, ADA)
        await room.store.save(blind, ADA, overwrite=True)
        assert [found.name for found in await room.load()][1:3] == ["Main", "Čerenkov"]


@async_test
async def test_C2_adding_and_removing_leaves_the_version_of_the_project(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        wanted = [found for found in stored if found.name != "Main"]
        wanted.append(item(Kind.SCENE, "New", stored[0], text=SCENE, position=9))
        changes = changes_between(stored, wanted)
        assert changes.order == {}
        await room.store.save(changes, BOB)
        assert changes_between(await room.load(), wanted).to_wire() == Changes().to_wire()
        assert (await room.load())[0].version == 1


@async_test
async def test_device_moves_to_another_server_with_its_configurations(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        new = item(Kind.SERVER, "SPB/SERVER/2", stored[0])
        motor = replace(named(stored, "SPB/MOTOR/1"), parent=new.uuid)
        await room.store.save(
            Changes(items=[new, motor], removed={named(stored, "SPB/SERVER/1").uuid: 1}), BOB
        )
        moved = await room.load()
        assert [found.name for found in moved[4:]] == [
            *("SPB/SERVER/2", "SPB/MOTOR/1", "fast", "slow"),
        ]
        assert named(moved, "SPB/MOTOR/1").attributes["active"] == named(moved, "slow").uuid


@async_test
async def test_project_in_the_trash_is_hidden_unchangeable_and_comes_back(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        await room.store.set_trashed(room.project, BOB, trashed=True)
        assert await room.store.projects() == []
        [record] = await room.store.projects(trashed=True)
        assert (record.name, record.trashed, record.saved_by) == ("Overview", True, BOB.name)
        with pytest.raises(
            BadConfigurationError, match="'Overview' is in the trash - restore it before"
        ):
            await room.store.save(Changes(items=[named(stored, "Main")]), ADA)
        with pytest.raises(BadConfigurationError, match="'Overview' is in the trash"):
            await room.store.save(Changes(items=[replace(i, version=0) for i in stored]), ADA)
        await room.fill(example())  # its name is free meanwhile
        with pytest.raises(InvalidNameError, match="another project 'Overview' in this folder"):
            await room.store.set_trashed(record.uuid, ADA, trashed=False)
        await room.store.set_trashed(record.uuid, ADA, trashed=False, name="Old", folder="Attic")
        restored = (await room.load(record.uuid))[0]
        assert (restored.name, restored.attributes["folder"]) == ("Old", "Attic")
        assert restored.attributes["description"] == "All of it."
        places = [(found.folder, found.name) for found in await room.store.projects()]
        assert places == [("Attic", "Old"), ("SPB/Optics", "Overview")]
        await room.store.set_trashed(record.uuid, ADA, trashed=True)
        await room.store.set_trashed(room.project, BOB, trashed=True)
        with pytest.raises(InvalidNameError, match="is no name for a project"):
            await room.store.set_trashed(record.uuid, ADA, trashed=False, name="a/b")
        await room.store.set_trashed(record.uuid, ADA, trashed=False)
        assert len(await room.load(record.uuid)) == 8
        with pytest.raises(UnknownItemError, match="there is no project"):
            await room.store.set_trashed(new_uuid(), ADA, trashed=True)


@async_test
async def test_duplicate_is_a_project_of_its_own(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        [uuid] = await room.store.duplicate(room.project, BOB, name="Second", folder="SPB/Optics")
        copy = await room.load(uuid)
        assert [(found.name, found.text) for found in copy[1:]] == [
            (found.name, found.text) for found in stored[1:]
        ]
        assert not {found.uuid for found in copy} & {found.uuid for found in stored}
        assert named(copy, "SPB/MOTOR/1").attributes["active"] == named(copy, "slow").uuid
        with pytest.raises(InvalidNameError, match="another project 'Second'"):
            await room.store.duplicate(room.project, BOB, name="Second", folder="SPB/Optics")
        with pytest.raises(UnknownItemError):
            await room.store.duplicate(new_uuid(), BOB, name="Third", folder="")


@async_test
async def test_duplicate_has_projects_of_its_own_below_it(databases: Databases) -> None:
    async with shelf(databases) as room:
        gone, inner, outer = example("Gone", "Old"), example("Inner", "Parts"), example("Outer")
        for number, below in enumerate((inner, gone)):
            link = {"project": below[0].uuid}
            new = item(Kind.SUBPROJECT, below[0].name, outer[0], attributes=link, position=number)
            outer.append(new)
        for project in (gone, inner, outer):
            await room.fill(project)
        await room.store.set_trashed(gone[0].uuid, BOB, trashed=True)
        first, second = await room.store.duplicate(outer[0].uuid, BOB, name="Outer 2", folder=None)
        places = [(record.folder, record.name) for record in await room.store.projects()]
        assert places == [
            *(("Parts", "Inner"), ("Parts", "Inner 2")),
            *(("SPB/Optics", "Outer"), ("SPB/Optics", "Outer 2")),
        ]
        copy = await room.load(first)
        assert named(copy, "Inner").attributes["project"] == second != inner[0].uuid
        assert named(copy, "Gone").attributes["project"] == gone[0].uuid
        [alone] = await room.store.duplicate(outer[0].uuid, BOB, name="X", folder="Y", alone=True)
        assert named(await room.load(alone), "Inner").attributes["project"] == inner[0].uuid
        await room.store.duplicate(outer[0].uuid, BOB, name="Outer", folder="Z")
        names = [record.name for record in await room.store.projects() if record.folder == "Z"]
        assert names == ["Inner", "Outer"]


@async_test
async def test_projects_are_found_by_what_is_in_them(databases: Databases) -> None:
    async with shelf(databases) as room:
        await room.fill()
        await room.fill(example("Trashed"))
        await room.store.set_trashed(room.project, BOB, trashed=True)
        await room.fill(example("Other"))

        async def found(pattern: str, kind: Kind, class_id: str = "") -> list[str]:
            patterns = {kind: pattern} if pattern else {}
            matches = await room.store.find(patterns, class_id=class_id)
            assert {match.kind for match in matches} <= {kind}
            return [match.project_name for match in matches]

        assert await found("SPB/MOTOR/*", Kind.DEVICE) == ["Other", "Overview"]
        assert await found("spb/motor/*", Kind.DEVICE) == []
        assert await found("SPB/MOTOR/[1-3]", Kind.DEVICE) == ["Other", "Overview"]
        assert await found("S_B/MOTOR/1", Kind.DEVICE) == []
        assert await found("*SERVER*", Kind.SERVER) == ["Other", "Overview"]
        assert await found("sca?", Kind.MACRO) == ["Other", "Overview"]
        assert await found("Čer*", Kind.SCENE) == ["Other", "Overview"]
        assert await found("", Kind.DEVICE, "SimulatedMotor") == ["Other", "Overview"]
        assert await found("*", Kind.DEVICE, "Pump") == []


@async_test
async def test_texts_come_in_parts_that_fit(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        scenes = [found.uuid for found in stored if found.kind is Kind.SCENE]
        assert list(await room.store.texts(scenes, max_bytes=1)) == scenes[:1]
        assert set(await room.store.texts(scenes, max_bytes=2 * len(SCENE))) == set(scenes)
        assert await room.store.texts([new_uuid()], max_bytes=1) == {}


def _double(stored: list[Item]) -> Changes:
    return Changes(items=[item(Kind.SCENE, "Main", stored[0], text=SCENE)])


def _orphan(stored: list[Item]) -> Changes:
    del stored
    return Changes(items=[Item(uuid=new_uuid(), kind=Kind.SCENE, name="x", parent=new_uuid())])


def _misplaced(stored: list[Item]) -> Changes:
    return Changes(items=[item(Kind.DEVICE, "A/B/1", stored[0])])


def _strange_active(stored: list[Item]) -> Changes:
    motor = named(stored, "SPB/MOTOR/1")
    return Changes(items=[replace(motor, attributes={"active": named(stored, "Main").uuid})])


def _lost_active(stored: list[Item]) -> Changes:
    return Changes(removed={named(stored, "slow").uuid: 1})


def _other_kind(stored: list[Item]) -> Changes:
    return Changes(items=[replace(named(stored, "Main"), kind=Kind.MACRO)])


def _removed_project(stored: list[Item]) -> Changes:
    return Changes(removed={found.uuid: 1 for found in stored})


def _itself(stored: list[Item]) -> Changes:
    link = {"project": stored[0].uuid}
    return Changes(items=[item(Kind.SUBPROJECT, "me", stored[0], attributes=link)])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (_double, "there are two of scene 'Main' beside each other"),
        (_orphan, "scene 'x' lies in an item .* that is not there"),
        (_misplaced, "device 'A/B/1' does not lie in a server"),
        (_strange_active, "active configuration of device 'SPB/MOTOR/1' is none of its own"),
        (_lost_active, "active configuration of device 'SPB/MOTOR/1' is none of its own"),
        (_other_kind, "'Main' is a scene, not a macro"),
        (_removed_project, "project 'Overview' cannot be removed"),
        (_itself, "a project would contain itself"),
    ],
)
@async_test
async def test_project_that_contradicts_itself_is_refused_as_a_whole(
    databases: Databases, changes: object, reason: str
) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        with pytest.raises(
            (BadConfigurationError, InvalidNameError, UnknownItemError), match=reason
        ):
            await room.store.save(changes(stored), BOB)  # type: ignore[operator]
        assert plain(await room.load()) == plain(stored)


@async_test
async def test_project_that_could_not_be_read_again_is_refused(databases: Databases) -> None:
    async with shelf(databases) as room:
        root = item(Kind.PROJECT, "Wordy")
        words = {"description": "d" * 4000}
        more = {"text": SCENE, "attributes": words}
        scenes = [item(Kind.SCENE, f"s{number}", root, **more) for number in range(2200)]
        with pytest.raises(BadConfigurationError, match=r"'Wordy' have 8\.4 MiB in all, 8 are"):
            await room.store.save(Changes(items=[root, *scenes]), ADA)
        assert await room.store.projects() == []
        await room.store.save(Changes(items=[root, *scenes[:2000]]), ADA)


@async_test
async def test_projects_of_more_items_than_one_may_have_are_saved_together(
    databases: Databases,
) -> None:
    async with shelf(databases) as room:
        items: list[Item] = []
        for name in ("One", "Two"):
            root = item(Kind.PROJECT, name)
            items += [root, *(item(Kind.MACRO, f"m{n}", root, text="") for n in range(6000))]
        await room.store.save(Changes(items=items), ADA)
        assert [record.items for record in await room.store.projects()] == [6001, 6001]
        more = [item(Kind.MACRO, f"n{n}", items[0], text="") for n in range(4000)]
        with pytest.raises(BadConfigurationError, match="'One' has more than 10000 items"):
            await room.store.save(Changes(items=more), ADA)


@async_test
async def test_project_cannot_contain_itself_through_others(databases: Databases) -> None:
    async with shelf(databases) as room:
        roots = [(await room.fill(example(name)))[0] for name in ("One", "Two", "Three")]

        async def put(inner: Item, outer: Item) -> None:
            link = {"project": inner.uuid}
            new = item(Kind.SUBPROJECT, inner.name, outer, attributes=link)
            await room.store.save(Changes(items=[new]), ADA)

        await put(roots[1], roots[0])
        await put(roots[2], roots[1])
        with pytest.raises(BadConfigurationError, match="would contain itself"):
            await put(roots[0], roots[2])


@async_test
async def test_difference_of_two_states_leads_from_one_to_the_other(databases: Databases) -> None:
    async with shelf(databases) as room:
        stored = await room.fill()
        root, main, other = stored[0], named(stored, "Main"), named(stored, "Čerenkov")
        wanted = [
            replace(found, name="Renamed") if found is root else found
            for found in stored
            if found.name not in ("scan", "fast", "Main", "Čerenkov")
        ]
        wanted += [
            replace(other, position=0),
            replace(main, position=1, text=SCENE.replace("4", "9")),
            item(Kind.MACRO, "new", root, text="pass\n"),
        ]
        await room.store.save(changes_between(stored, wanted), BOB)
        after = await room.load()
        assert changes_between(after, after).to_wire() == Changes().to_wire()
        assert [found.name for found in after] == [
            *("Renamed", "Čerenkov", "Main", "new", "SPB/SERVER/1", "SPB/MOTOR/1", "slow"),
        ]
        untouched = {found.name for found in after if found.version == 1}
        assert untouched == {"Čerenkov", "new", "SPB/SERVER/1", "SPB/MOTOR/1", "slow"}


@async_test
async def test_large_project_is_saved_in_seconds(databases: Databases) -> None:
    async with shelf(databases) as room:
        root = item(Kind.PROJECT, "Large")
        server = item(Kind.SERVER, "A/B/1", root)
        devices = [item(Kind.DEVICE, f"A/C/{number}", server) for number in range(3000)]
        stored = await room.fill([root, server, *devices])
        assert len(stored) == 3002
