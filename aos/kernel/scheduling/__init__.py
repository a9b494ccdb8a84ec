"""Scheduling: who may use how much of what is scarce."""
