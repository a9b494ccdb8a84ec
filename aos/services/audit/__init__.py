"""The audit log of a run: facts are written by producers, sequenced by one, and proved to anybody."""
