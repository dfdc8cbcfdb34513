"""The revisions of the accounts."""
