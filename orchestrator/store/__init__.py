"""All that is remembered: SQL on SQLite or PostgreSQL, every query a named method."""
