import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from entra_directory import AUDIENCE, CLIENT, OBJECT, OF_AN_APPLICATION, TENANT, Directory, faults
from tls_server import TlsServer, serving_tls

from aos.kernel.errors import Unauthenticated, Unavailable
from aos.services.auth.bearer import is_token
from aos.services.auth.entra import ISSUERS, EntraTokens
from aos.services.auth.signing_keys import ASKED_S, FRESH_S, RETRY_S, TRUSTED_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTS = list(faults(Directory("https://authority"), "operator"))


class Clock:
    """The real time, moved by ``ahead`` seconds."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Directory, TlsServer]]:
    directory = Directory()
    async with serving_tls(directory.app, tmp_path_factory.mktemp("tls")) as server:
        directory.authority = server.url
        yield directory, server


@pytest.fixture
def directory(served: tuple[Directory, TlsServer]) -> Directory:
    directory, _ = served
    directory.rotate("k1")
    directory.fetched, directory.failing, directory.holding = 0, False, None
    return directory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(loop_scope="module")
async def tokens(
    served: tuple[Directory, TlsServer], directory: Directory, clock: Clock
) -> AsyncIterator[EntraTokens]:
    tokens = EntraTokens(
        directory=TENANT,
        audience=AUDIENCE,
        tenant="acme",
        clock=clock,
        authority=directory.authority,
        tls=served[1].trust,
    )
    yield tokens
    await tokens.close()


async def test_a_person_is_known_by_object_id_sign_in_name_and_app_roles(
    directory: Directory, tokens: EntraTokens
):
    principal = await tokens.authenticate(directory.token("operator", "board"))
    assert principal.id == OBJECT
    assert principal.name == "ada@contoso.example"
    assert principal.tenant == "acme"
    assert principal.roles == {"operator", "board"}
    assert principal.actor == f"user:ada@contoso.example ({OBJECT})"


async def test_two_people_of_one_name_are_two_in_every_record(directory: Directory, tokens: EntraTokens):
    other = await tokens.authenticate(directory.token("operator", oid=OBJECT.replace("0", "1").upper()))
    ada = await tokens.authenticate(directory.token("operator"))
    assert ada.name == other.name
    assert ada.actor != other.actor
    liar = directory.token("operator", oid=other.id, preferred_username=f"ada@contoso.example ({OBJECT})")
    assert (await tokens.authenticate(liar)).actor.endswith(f" ({other.id})")


async def test_a_managed_identity_is_known_by_its_client_id(directory: Directory, tokens: EntraTokens):
    for said in (OF_AN_APPLICATION, OF_AN_APPLICATION | {"sub": "sub", "idtyp": "app"}):
        principal = await tokens.authenticate(directory.token("operator", **said))
        assert (principal.id, principal.name) == (OBJECT, CLIENT)
        assert principal.roles == {"operator"}


async def test_a_token_of_version_1_names_its_client_and_the_audience_as_a_uri(
    directory: Directory, tokens: EntraTokens
):
    version_1 = {
        "ver": "1.0",
        "iss": f"{directory.authority}/{TENANT}/",
        "aud": f"api://{AUDIENCE}",
        "azp": None,
        "appid": "11111111-0000-0000-0000-000000000003",
        **OF_AN_APPLICATION,
    }
    principal = await tokens.authenticate(directory.token("viewer", **version_1))
    assert principal.name == version_1["appid"]


async def test_roles_that_mean_nothing_here_are_left_out(directory: Directory, tokens: EntraTokens):
    principal = await tokens.authenticate(directory.token("Payments.Admin", "viewer", "a b"))
    assert principal.roles == {"viewer"}
    for malformed in (None, "operator", {"operator": True}, [1]):
        assert not (await tokens.authenticate(directory.token(roles=malformed))).roles


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_token_that_is_wrong_in_any_way_is_refused(
    directory: Directory, tokens: EntraTokens, fault: str
):
    await tokens.authenticate(directory.token("operator"))
    token = faults(directory, "operator")[fault]
    with pytest.raises(Unauthenticated, match="the bearer token is not valid: ") as refusal:
        await tokens.authenticate(token)
    assert token[:30] not in refusal.value.message
    assert is_token(token)


async def test_a_token_expires_and_begins_within_a_minute_of_skew(
    directory: Directory, tokens: EntraTokens, clock: Clock
):
    token = directory.token("viewer")
    for ahead, why in ((3600 + 90, "it has expired"), (-90, "it is not valid yet")):
        clock.ahead = ahead
        with pytest.raises(Unauthenticated, match=why):
            await tokens.authenticate(token)
    for ahead in (3600 + 30, -30):
        clock.ahead = ahead
        await tokens.authenticate(token)


async def test_keys_are_fetched_once_for_all_who_wait_and_never_while_they_are_fresh(
    directory: Directory, tokens: EntraTokens
):
    directory.holding = asyncio.Event()
    waiting = [asyncio.create_task(tokens.authenticate(directory.token("viewer"))) for _ in range(50)]
    while not directory.fetched:
        await asyncio.sleep(0.005)  # the event loop stays free: nothing blocks it
    directory.holding.set()
    await asyncio.gather(*waiting)
    await tokens.authenticate(directory.token("viewer"))
    assert directory.fetched == 1


async def test_a_rotated_key_is_found_and_the_old_one_no_longer_accepted(
    directory: Directory, tokens: EntraTokens, clock: Clock
):
    old = directory.token("viewer")
    await tokens.authenticate(old)
    directory.rotate("k2")
    clock.ahead = ASKED_S
    await tokens.authenticate(directory.token("viewer"))
    with pytest.raises(Unauthenticated, match="not signed with a key of the directory"):
        await tokens.authenticate(old)


async def test_made_up_key_ids_reach_the_directory_once_a_minute(
    directory: Directory, tokens: EntraTokens, clock: Clock
):
    forged = faults(directory, "viewer")["unknown key id"]
    for ahead, fetched in ((0.0, 1), (ASKED_S / 2, 1), (ASKED_S, 2), (ASKED_S * 1.5, 2)):
        clock.ahead = ahead
        for _ in range(20):
            with pytest.raises(Unauthenticated):
                await tokens.authenticate(forged)
        assert directory.fetched == fetched


async def test_a_directory_that_did_not_answer_is_asked_again_after_seconds(
    directory: Directory, tokens: EntraTokens, clock: Clock
):
    directory.failing = True
    for _ in range(20):
        with pytest.raises(Unavailable):
            await tokens.authenticate(directory.token("viewer"))
    assert directory.fetched == 1
    directory.failing, clock.ahead = False, RETRY_S
    await tokens.authenticate(directory.token("viewer"))


@pytest.mark.parametrize(
    "cloud",
    [
        ("login.microsoftonline.com", "login.microsoftonline.com", "sts.windows.net"),
        ("login.microsoftonline.us", "login.microsoftonline.us", "sts.windows.net"),
        ("login.partner.microsoftonline.cn", "login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"),
        ("login.chinacloudapi.cn", "login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"),
    ],
)
async def test_each_cloud_issues_under_its_own_names(
    served: tuple[Directory, TlsServer], cloud: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
):
    """The clouds' names lead to the stand-in; what is compared is what tokens say."""
    (directory, server), (authority, version_2, version_1) = served, cloud
    monkeypatch.setitem(ISSUERS, directory.authority, ISSUERS[f"https://{authority}"])
    tokens = EntraTokens(
        directory=TENANT,
        audience=AUDIENCE,
        tenant="acme",
        clock=time.time,
        authority=f"{directory.authority}/",
        tls=server.trust,
    )
    for issuer in (f"https://{version_2}/{TENANT}/v2.0", f"https://{version_1}/{TENANT}/"):
        await tokens.authenticate(directory.token("viewer", iss=issuer))
    for issuer in (f"https://{version_2}/{TENANT}", f"https://{version_1}/{TENANT}", directory.authority):
        with pytest.raises(Unauthenticated, match="not issued by the directory"):
            await tokens.authenticate(directory.token("viewer", iss=issuer))
    await tokens.close()


async def test_aged_keys_are_fetched_anew_behind_the_answer(
    directory: Directory, tokens: EntraTokens, clock: Clock
):
    await tokens.authenticate(directory.token("viewer"))
    clock.ahead = FRESH_S
    directory.holding = asyncio.Event()
    token = directory.token("viewer", at=clock())
    await tokens.authenticate(token)  # although the directory does not answer
    while directory.fetched < 2:
        await asyncio.sleep(0.005)
    directory.holding.set()


async def test_without_the_directory_known_keys_serve_for_three_days(
    directory: Directory, tokens: EntraTokens, clock: Clock, caplog: pytest.LogCaptureFixture
):
    await tokens.authenticate(directory.token("viewer"))
    directory.failing = True
    with caplog.at_level(logging.WARNING):
        for ahead in (FRESH_S, TRUSTED_S - 1):
            clock.ahead = ahead
            await tokens.authenticate(directory.token("viewer", at=clock()))
        clock.ahead = TRUSTED_S
        with pytest.raises(Unavailable, match="cannot be fetched now"):
            await tokens.authenticate(directory.token("viewer", at=clock()))
    assert "cannot be fetched: HTTPStatusError" in caplog.text
    directory.failing = False
    clock.ahead += RETRY_S
    await tokens.authenticate(directory.token("viewer", at=clock()))


async def test_a_directory_that_is_not_who_it_should_be_is_not_asked(directory: Directory):
    """Without trust in the stand-in's certificate TLS fails, and nothing is accepted."""
    tokens = EntraTokens(
        directory=TENANT, audience=AUDIENCE, tenant="acme", clock=time.time, authority=directory.authority
    )
    with pytest.raises(Unavailable):
        await tokens.authenticate(directory.token("viewer"))
    assert directory.fetched == 0
    await tokens.close()


async def test_an_api_key_is_no_token():
    assert not is_token("aos_0123456789abcdef_" + "x" * 43)
    assert not is_token("")
