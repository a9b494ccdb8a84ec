"""Workflows: what they are, what depends on what, and how a run goes forward and back."""
