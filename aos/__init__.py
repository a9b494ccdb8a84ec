"""AOS: an operating system for AI agents."""
