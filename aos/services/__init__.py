"""Services act: the I/O behind small ports, one package per service."""
