"""`attributes`."""

from typing import Any, Final

import click

from pykarabo.client import BlockingClient
from pykarabo.data import iterate_leaves, require_attribute
from pykarabo.errors import BadConfigurationError

from ._app import common
from ._complete import complete_devices
from ._parsing import loosely, split_assignment
from ._text import print_json, to_text

_GIVEN: Final = "given_attributes"


@click.command("attributes")
@click.argument("device_id", metavar="DEV", shell_complete=complete_devices)
@click.argument("assignments", nargs=-1, metavar="[prop.attribute=value]...")
@common
def attributes_command(device_id: str, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Show or set limits, dead-bands and archive settings that the device DEV alone has.

    Such as velocity.warn_high=5 or status.archive=false. 'null' takes a limit away, and nothing
    behind '=' returns to what the class declares.
    """
    wanted = [_parsed(text) for text in assignments]
    with BlockingClient() as client:
        given: dict[str, dict[str, Any]] = client.read(device_id, [_GIVEN])[_GIVEN].value
        if wanted:
            _require_known(client, device_id, wanted)
            after = _changed(given, wanted)
            server = client.device(client.resolve(device_id).server_id)
            server.call("set_attributes", device_id, after, given)
            given = client.read(device_id, [_GIVEN])[_GIVEN].value
    if as_json:
        print_json(given)
        return
    for key, item in given.items():
        for name, value in item.items():
            click.echo(f"{key}.{name} = {to_text(value, whole=True)}")
    if not given:
        click.echo(f"{device_id} has what its class declares")


def _parsed(text: str) -> tuple[str, str, str]:
    """Return property, attribute and the text of its value."""
    place, value = split_assignment(text)
    key, dot, name = place.rpartition(".")
    if not dot or not key:
        raise BadConfigurationError(
            f"'{place}' names no attribute of a property", remedy="write property.attribute=value"
        )
    return key, name, value


def _require_known(
    client: BlockingClient, device_id: str, wanted: list[tuple[str, str, str]]
) -> None:
    """Refuse to take back what there is not; what is to be given the server looks at itself."""
    infos = {info.key: info for info in iterate_leaves(client.schema(device_id))}
    for key, name, text in wanted:
        if not text:
            require_attribute(infos, key, name, device_id)


def _changed(
    given: dict[str, dict[str, Any]], wanted: list[tuple[str, str, str]]
) -> dict[str, dict[str, Any]]:
    """Return attributes with others in their place; those without a value are left out."""
    after = {key: dict(item) for key, item in given.items()}
    for key, name, text in wanted:
        item = after.setdefault(key, {})
        item.pop(name, None)
        if text:
            item[name] = loosely(text)
    return {key: item for key, item in after.items() if item}
