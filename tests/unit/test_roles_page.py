"""The page of roles says what the commands of devices, servers and services need."""

import re
from pathlib import Path
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.device import Device, DeviceServer
from pykarabo_services.accounts.service import Accounts
from pykarabo_services.archiver.reader import HistoryReader
from pykarabo_services.bridge.service import KaraboBridge
from pykarabo_services.configuration.service import ConfigurationStore
from pykarabo_services.daq.service import RunRecorder
from pykarabo_services.directory.service import Directory
from pykarabo_services.project.service import ProjectStore

_PAGE: Final = Path(__file__).resolve().parents[2] / "docs/reference/roles.md"
_CLASSES: Final[dict[str, type[Device]]] = {
    "every device": Device,
    "a server": DeviceServer,
    "the directory": Directory,
    "a run recorder": RunRecorder,
    "a bridge": KaraboBridge,
    "a project store": ProjectStore,
    "a configuration store": ConfigurationStore,
    "the accounts": Accounts,
    "a history reader": HistoryReader,
}


def test_page_says_what_the_commands_need() -> None:
    written = set(re.findall(r"^\| (.+) \| `(.+)` \| (\w+) \|$", _PAGE.read_text("utf-8"), re.M))
    inherited = set(Device.schema().commands)
    declared = {
        (name, key, info.access_level.name.lower())
        for name, cls in _CLASSES.items()
        for key, info in cls.schema().commands.items()
        if cls is Device or key not in inherited
    }
    settable = {
        ("every device", key, info.write_level.name.lower())
        for key, info in Device.schema().properties.items()
        if info.write_level is not AccessLevel.OBSERVER
    }
    assert written == declared | settable
