"""Job files to values: grammar, places of errors, secret references, settings."""
