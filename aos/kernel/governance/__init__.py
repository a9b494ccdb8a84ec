"""Governance: what may be done, who agreed to it, and that it was done once."""
