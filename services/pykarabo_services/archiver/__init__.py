"""The archive: every change of every property, and what is missing from it."""
