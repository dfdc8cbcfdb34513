"""Provokes faults in clusters of real processes, and accounts for what became of everything.

========================  =======================================================================
`Cluster`                 starts device servers, restarts them, ends them all
`ServerProcess`           is killed, frozen and continued, ended
`Site`                    replicas of a directory behind relays (`tests.harness.site`)
`Proxy`                   resets, delays, damages and cuts TCP connections
`Disk`                    is filled and freed (root)
`Namespace`               another host behind a link that loses packets or is cut (root)
`Auditor`, `StreamAudit`  compare what a device produced with what watchers were told
`CallAudit`               compares what was executed with what callers were told
========================  =======================================================================

With `PYKARABO_RECORD` each case adds its figures to that file, one JSON object per line.
"""

from .auditor import (
    DONE,
    NOT_EXECUTED,
    OTHER,
    RECORD_VARIABLE,
    UNKNOWN,
    Auditor,
    CallAccount,
    CallAudit,
    CallOutcome,
    StreamAccount,
    StreamAudit,
    describe,
    record,
    timed_out,
)
from .cluster import Cluster, FaultyProcess, ServerProcess, wait_until
from .disk import Disk, why_no_disk
from .namespace import Namespace, why_not
from .ports import free_ports
from .proxy import PROXY_HOST, SERVER_HOST, Proxy

__all__ = [
    "DONE",
    "NOT_EXECUTED",
    "OTHER",
    "PROXY_HOST",
    "RECORD_VARIABLE",
    "SERVER_HOST",
    "UNKNOWN",
    "Auditor",
    "CallAccount",
    "CallAudit",
    "CallOutcome",
    "Cluster",
    "Disk",
    "FaultyProcess",
    "Namespace",
    "Proxy",
    "ServerProcess",
    "StreamAccount",
    "StreamAudit",
    "describe",
    "free_ports",
    "record",
    "timed_out",
    "wait_until",
    "why_no_disk",
    "why_not",
]
