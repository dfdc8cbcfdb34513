"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from ._blocking_client import BlockingClient, connect, disconnect_all
from ._blocking_proxy import DeviceProxy, NodeProxy
from ._client import (
    CALL_TIMEOUT_S,
    DIRECTORY_STEM,
    DIRECTORY_VARIABLE,
    Client,
    StreamCounters,
    directory_endpoint,
    own_identity,
)
from ._connect import aconnect, adisconnect_all
from ._input import PipelineReader
from ._job import AsyncJob, Job
from ._proxy import AsyncDeviceProxy, AsyncNodeProxy
from ._records import (
    DIRECTORY_ID,
    DeviceRecord,
    ServerRecord,
    check_device_id,
    split_target,
)
from ._updates import Change, Gap, Live, NewSchema, Stale, Update
from ._waiting import stop_watching, wait_until, watch
from ._watch import Follower, Watch

__all__ = [
    "CALL_TIMEOUT_S",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "AsyncDeviceProxy",
    "AsyncJob",
    "AsyncNodeProxy",
    "BlockingClient",
    "Change",
    "Client",
    "DeviceProxy",
    "DeviceRecord",
    "Follower",
    "Gap",
    "Job",
    "Live",
    "NewSchema",
    "NodeProxy",
    "PipelineReader",
    "ServerRecord",
    "Stale",
    "StreamCounters",
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
