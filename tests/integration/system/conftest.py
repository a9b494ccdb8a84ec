import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))

from lab_fixtures import shared, stack, target

__all__ = ["shared", "stack", "target"]
