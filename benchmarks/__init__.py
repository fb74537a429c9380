"""What the program costs, each figure beside its floor or its peer: `python -m benchmarks`."""
