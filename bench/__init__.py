"""Measures AOS's local runtime beside durabletask's in-memory backend and DBOS: `python -m bench`."""
