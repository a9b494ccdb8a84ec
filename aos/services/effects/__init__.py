"""Effects: the rows that make a tool's call happen once, or known to be unknown."""
