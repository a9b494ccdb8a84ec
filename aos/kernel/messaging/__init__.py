"""Messages: the queues that there are, and what travels on them."""
