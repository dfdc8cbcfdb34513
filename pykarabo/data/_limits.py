"""How large and how deep a message may be."""

from dataclasses import dataclass
from typing import Final

MAX_VALUE_BYTES: Final = 4 * 2**20
"""Two such values still fit into one message; what is larger belongs into a pipeline output."""
MAX_VALUE_ITEMS: Final = 40_000
"""Texts, arrays and the like in one value: two such values still fit into one message, see
`Limits.max_nodes`. An array counts as one."""
MAX_VALUE_DEPTH: Final = 20
"""Levels of maps and lists in one value; messages nest it deeper, see `Limits.max_depth`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a message that is decoded; what exceeds one is refused before it costs memory.

    Attributes:
        max_depth: nesting of maps and lists.
        max_key: bytes of a map's key.
        max_nodes: values of a message, all levels together.
        max_frames: frames, the first one included.
        max_body: bytes of the first frame.
    """

    max_depth: int = 32
    max_key: int = 512
    max_nodes: int = 100_000
    max_frames: int = 16
    max_body: int = 8 * 2**20
