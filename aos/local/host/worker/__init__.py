"""The Python worker: a process of its own in which Microsoft's worker library runs the app."""
