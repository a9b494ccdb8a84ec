"""Configuration: the settings of AOS, and the clock."""
