"""Parts of a configuration, chosen by what its schema says."""

from ._hash import Hash
from ._schema import Schema


def filter_by_tags(values: Hash, schema: Schema, *tags: str) -> Hash:
    """Return the elements whose property, or a node above it, has one of these tags.

    Attributes are kept and values are not copied; elements that the schema does not know are
    left out.
    """
    return _filtered(values, schema, frozenset(tags), "")


def _filtered(values: Hash, schema: Schema, tags: frozenset[str], prefix: str) -> Hash:
    chosen = Hash()
    for key, value, attributes in values.elements():
        info = schema.properties.get(prefix + key)
        if info is None:
            continue
        if tags & set(info.tags):
            chosen.set_element(key, value, attributes)
        elif info.node and isinstance(value, Hash):
            below = _filtered(value, schema, tags, f"{prefix}{key}.")
            if below:
                chosen.set_element(key, below, attributes)
    return chosen
