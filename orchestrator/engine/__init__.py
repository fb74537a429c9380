"""All order of events: claim, act outside any transaction, commit guarded by the lease."""
