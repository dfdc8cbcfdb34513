"""The revisions of the notes."""
