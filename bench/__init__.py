"""Measures AOS's local runtime beside durabletask's stock in-memory backend: `python -m bench`."""
