"""Each use case once: what the command line, the API and Python ask for."""
