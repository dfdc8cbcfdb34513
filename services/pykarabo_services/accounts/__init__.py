"""The accounts of a domain: who its users are, and which role each has."""
