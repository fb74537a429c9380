"""What providers and hooks speak HTTP with: addresses, TLS, exchanges, Retry-After, redaction."""
