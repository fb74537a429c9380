"""The daemon's address: its API over HTTP, on engine and store alone."""
