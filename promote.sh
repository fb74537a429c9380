#!/bin/sh
# An example of a hook: the event is JSON on standard input, its main fields are in the environment.
echo "promoted $ORCHESTRATOR_MODEL"
