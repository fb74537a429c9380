"""One suite for every installed driver and hook kind, over real HTTP."""
