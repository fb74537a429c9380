"""The daemon's address: the installed command, a real server, real requests."""
