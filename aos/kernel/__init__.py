"""The kernel decides: pure reducers and value types, without I/O, clock or randomness."""
