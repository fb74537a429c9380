"""Where events are delivered to: what a hook is, which kinds there are, and one file for each."""
