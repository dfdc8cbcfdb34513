"""The directory: which devices a domain has and where they are."""
