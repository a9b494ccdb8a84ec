"""Runs: accepted once, known by their rows, with their steps' results and their approvals."""
