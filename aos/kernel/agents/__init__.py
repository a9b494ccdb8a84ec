"""Agents: what they are, and the states that they live through."""
