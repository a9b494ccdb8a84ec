"""Which versions of the durable SDK have the internals that `durablesdk` takes."""

import importlib.metadata

KNOWN = {"azure-functions-durable": "2.0.0rc3", "durabletask": "1.12.0"}


def sdk_is_known() -> bool:
    """Whether the SDK that is installed for the app is of those versions."""
    return all(_installed(name) == version for name, version in KNOWN.items())


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
