"""The long-running process: its loops, what wakes them, the job files, and how it is."""
