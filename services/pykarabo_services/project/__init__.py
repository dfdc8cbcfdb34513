"""Projects: scenes, macros, servers, devices and their configurations, kept for everybody."""
