"""The revisions of the tables of projects."""
