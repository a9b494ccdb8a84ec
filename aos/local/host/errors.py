"""The errors that stop the host."""


class HostError(Exception):
    """The host cannot start or go on: one line that names what is wrong, and the exit code.

    Code 2 means that what the host was given is wrong (a setting, a file, a port);
    code 1 that the app could not be loaded or kept running.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class AppError(HostError):
    """The app cannot be loaded or kept running: an edit of it may mend that."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=1)


class LoadCutShortError(AppError):
    """A worker process ended while it was loading the app."""

    def __init__(self) -> None:
        super().__init__("the worker process ended while it was loading the app")
