import pytest
from lab_fixtures import shared, stack, target

__all__ = ["shared", "stack", "target"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first: workers that share the tests run the others beside it."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
