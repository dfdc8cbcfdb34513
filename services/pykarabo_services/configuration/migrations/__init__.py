"""The revisions of the configuration store."""
