"""Every test here drives the installed command in a folder of its own."""

from drive import _client, _url, _warm, listener, place

__all__ = ["_client", "_url", "_warm", "listener", "place"]
