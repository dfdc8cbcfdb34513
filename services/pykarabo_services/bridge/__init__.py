"""The Karabo bridge: trains for analysis programs outside the control system."""
