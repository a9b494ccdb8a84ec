"""The HTTP API of AOS."""
