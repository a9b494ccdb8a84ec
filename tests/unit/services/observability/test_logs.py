import logging

import pytest

from aos.services.observability.logs import TOLD_EVERY_S, Rarely, quiet_exporters, quiet_libraries

REQUESTS = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")


@pytest.fixture
def levels():
    """The levels of the loggers, which are given back."""
    names = ("azure.core", "azure.durable_functions.worker", "httpx")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("levels")
def test_libraries_warn_and_tell_of_no_request(caplog: pytest.LogCaptureFixture):
    logging.getLogger("azure.core").setLevel(logging.NOTSET)
    with caplog.at_level(logging.INFO):
        quiet_libraries()
        REQUESTS.info("Request URL: ...")
        REQUESTS.warning("a request failed")
    assert caplog.messages == ["a request failed"]


@pytest.mark.usefixtures("levels")
def test_who_wants_to_read_of_every_request_can():
    logging.getLogger("azure.core").setLevel(logging.DEBUG)
    quiet_libraries()
    assert REQUESTS.isEnabledFor(logging.DEBUG)


def test_a_complaint_is_told_once_in_ten_minutes(caplog: pytest.LogCaptureFixture):
    now = 0.0
    logger = logging.getLogger("test.exporter")
    logger.addFilter(Rarely(lambda: now))
    for now in (0.0, TOLD_EVERY_S - 1, TOLD_EVERY_S, TOLD_EVERY_S + 1):
        logger.warning("no answer after %d s", now)
    logger.warning("another")
    assert caplog.messages == ["no answer after 0 s", "no answer after 600 s", "another"]


def test_the_exporters_that_there_are_are_quieted():
    exporter, other = logging.getLogger("opentelemetry.exporter.test"), logging.getLogger("test.other")
    quiet_exporters()
    assert [type(each) for each in exporter.filters] == [Rarely]
    assert not other.filters
