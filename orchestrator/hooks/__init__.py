"""Where events are delivered: the interface of a hook, the installed kinds, and one file for each."""
