"""A facility as a file says it: read and checked, compared with what runs, applied, written.

`read_facility` reads a file, `look` reads the domain, `make_plan` tells what must be done so that
the two agree, `Applier` does it, and `Export` writes what runs as such a file.
"""

from ._apply import Applier, Outcome, Processes, Result
from ._checking import Checked, CheckedFacility, SchemaOf, check_facility, resolve_variables
from ._export import Export
from ._file import (
    ACCOUNTS_CLASS,
    Facility,
    FacilityDevice,
    FacilityServer,
    NamedConfiguration,
    default_facility,
    read_facility,
    with_accounts,
)
from ._named import configuration_steps, same_steps, with_configurations_of
from ._names import check_comment, check_configuration_name, check_priority
from ._plan import make_plan
from ._running import (
    STORE_CLASS,
    Running,
    RunningDevice,
    RunningServer,
    look,
    start_options,
    with_configurations,
)
from ._schema import file_schema
from ._steps import Change, Kind, Plan, Step

__all__ = [
    "ACCOUNTS_CLASS",
    "STORE_CLASS",
    "Applier",
    "Change",
    "Checked",
    "CheckedFacility",
    "Export",
    "Facility",
    "FacilityDevice",
    "FacilityServer",
    "Kind",
    "NamedConfiguration",
    "Outcome",
    "Plan",
    "Processes",
    "Result",
    "Running",
    "RunningDevice",
    "RunningServer",
    "SchemaOf",
    "Step",
    "check_comment",
    "check_configuration_name",
    "check_facility",
    "check_priority",
    "configuration_steps",
    "default_facility",
    "file_schema",
    "look",
    "make_plan",
    "read_facility",
    "resolve_variables",
    "same_steps",
    "start_options",
    "with_accounts",
    "with_configurations",
    "with_configurations_of",
]
