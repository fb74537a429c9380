"""Tests of `orchestrator.providers` by values and by canned bytes."""
