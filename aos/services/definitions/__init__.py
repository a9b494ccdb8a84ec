"""Workflow definitions: read from the application, kept by content so that a run never sees an edit."""
