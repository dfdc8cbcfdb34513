"""The configuration store: named configurations of devices, with all of their history."""
