from lab_fixtures import shared, stack, target

__all__ = ["shared", "stack", "target"]
