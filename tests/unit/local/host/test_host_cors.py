"""`Host.CORS` of local.settings.json: what is understood, and what makes no sense."""

import pytest

from aos.local.host.cors import Cors, read_cors


def test_origins_are_listed_with_commas() -> None:
    cors = read_cors({"CORS": "http://localhost:3000, https://Portal.example/", "CORSCredentials": True})
    assert cors == Cors(("http://localhost:3000", "https://portal.example"), credentials=True)
    assert read_cors({}) == Cors()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ({"CORS": ["http://a"]}, "CORS must be a text"),
        ({"CORS": "http://a", "CORSCredentials": "yes"}, "CORSCredentials must be true or false"),
        ({"CORS": "*,http://a"}, "either \\* or a list"),
        ({"CORS": "*", "CORSCredentials": True}, "browsers refuse that"),
    ],
)
def test_what_browsers_or_core_tools_would_not_take_is_refused(host: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_cors(host)
