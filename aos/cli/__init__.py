"""The `aos` command: a client of the HTTP API, and what the operator of one machine needs."""
