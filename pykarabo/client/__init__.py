"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._records import DIRECTORY_ID, DeviceRecord, ServerRecord, check_device_id, split_target

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient, connect, disconnect_all
    from ._blocking_proxy import DeviceProxy, NodeProxy
    from ._client import Client
    from ._connect import aconnect, adisconnect_all
    from ._directory import (
        CALL_TIMEOUT_S,
        DIRECTORY_STEM,
        DIRECTORY_VARIABLE,
        directory_endpoint,
        own_identity,
    )
    from ._input import PipelineReader
    from ._proxy import AsyncDeviceProxy, AsyncNodeProxy
    from ._updates import Change, Gap, Live, NewSchema, Stale, Update
    from ._waiting import stop_watching, wait_until, watch
    from ._watch import Follower, Watch

__all__ = [
    "CALL_TIMEOUT_S",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "AsyncDeviceProxy",
    "AsyncNodeProxy",
    "BlockingClient",
    "Change",
    "Client",
    "DeviceProxy",
    "DeviceRecord",
    "Follower",
    "Gap",
    "Live",
    "NewSchema",
    "NodeProxy",
    "PipelineReader",
    "ServerRecord",
    "Stale",
    "Update",
    "Watch",
    "aconnect",
    "adisconnect_all",
    "check_device_id",
    "connect",
    "directory_endpoint",
    "disconnect_all",
    "own_identity",
    "split_target",
    "stop_watching",
    "wait_until",
    "watch",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            **dict.fromkeys(("BlockingClient", "connect", "disconnect_all"), "_blocking_client"),
            **dict.fromkeys(("DeviceProxy", "NodeProxy"), "_blocking_proxy"),
            "Client": "_client",
            **dict.fromkeys(("aconnect", "adisconnect_all"), "_connect"),
            **dict.fromkeys(
                (
                    "CALL_TIMEOUT_S",
                    "DIRECTORY_STEM",
                    "DIRECTORY_VARIABLE",
                    "directory_endpoint",
                    "own_identity",
                ),
                "_directory",
            ),
            "PipelineReader": "_input",
            **dict.fromkeys(("AsyncDeviceProxy", "AsyncNodeProxy"), "_proxy"),
            **dict.fromkeys(("Change", "Gap", "Live", "NewSchema", "Stale", "Update"), "_updates"),
            **dict.fromkeys(("stop_watching", "wait_until", "watch"), "_waiting"),
            **dict.fromkeys(("Follower", "Watch"), "_watch"),
        },
    )
