"""Hooks against real receivers and real processes."""
