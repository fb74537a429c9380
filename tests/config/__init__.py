"""Tests of the job file: grammar, places, references, settings."""
