"""The pure core: decisions as functions of values and `now`; nothing here awaits, reads a clock or a file."""
