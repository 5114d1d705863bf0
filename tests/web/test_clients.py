"""Which client a request comes from, whatever headers say; and how often a client may be wrong."""

import asyncio
import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import _TrustedHosts

from crossplay.kernel import CrossplayError
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.web.gate import OWNER_TRIES
from crossplay.wire.http.clients import Proxies, address_of, client_now, now_from
from crossplay.wire.http.tries import CLIENTS, Tries, name_of

TOKEN = "a-token-of-many-letters"
fast = settings(derandomize=True, deadline=None, max_examples=150, database=None)
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
PORT = st.integers(0, 65535)
GARBAGE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b",",
            b", ,",
            b"unix:",
            b"unknown",
            b"_hidden",
            b"for=192.0.2.1",
            b'"[2001:db8::1]:80"',
            b"[",
            b"[]",
            b"]:1",
        ]
    ),
    st.sampled_from(
        [b"1.2.3.4:99999", b"1.2.3.4:", b"1.2.3.4:x", b"[1.2.3.4]:5", b"01.2.3.4", b"1.2.3", b"%eth0", b"::1%"]
    ),
)


@st.composite
def written(draw):
    """(an address, one of the ways in which proxies write it)."""
    address = draw(st.one_of(V4, V6))
    if address.version == 4:
        form = draw(st.sampled_from(["{a}", "{a}:{p}", "::ffff:{a}", "[::ffff:{a}]:{p}", "  {a} "]))
        return str(address), form.format(a=address, p=draw(PORT))
    form = draw(st.sampled_from(["{a}", "[{a}]", "[{a}]:{p}", "{a}%eth0", "[{a}%1]:{p}", "{x}", "{u}"]))
    plain = str(address.ipv4_mapped or address)
    return plain, form.format(a=address, p=draw(PORT), x=address.exploded, u=str(address).upper())


@fast
@given(written())
def test_an_address_is_read_however_it_is_written(found):
    plain, text = found
    assert address_of(text) == plain


@fast
@given(st.text(max_size=100))
@example("1.2.3.4, 5.6.7.8")
@example("\u0661.2.3.4")
@example("1.2.3.4:\u0661")
@example("1" * 100)
def test_what_is_no_address_is_none(text):
    found = address_of(text)
    assert found is None or str(ipaddress.ip_address(found)) == found


@fast
@given(st.one_of(V4, V6).map(str), st.lists(GARBAGE, max_size=4), st.lists(st.one_of(V4, V6).map(str), max_size=3))
def test_without_a_proxy_nobody_is_believed(peer, said, chain):
    headers = [*said, ", ".join(chain).encode()]
    assert Proxies().client(peer, headers) == address_of(peer)
    other = "192.0.2.77" if peer != "192.0.2.77" else "192.0.2.78"
    assert Proxies([other]).client(peer, headers) == address_of(peer)
    assert not Proxies([other]).encrypted(peer, [b"https"])


@fast
@given(st.data())
def test_the_client_is_the_last_one_that_a_trusted_proxy_saw(data):
    inner = data.draw(st.lists(st.integers(1, 254).map(lambda n: f"10.9.8.{n}"), max_size=3))
    plain, text = data.draw(written().filter(lambda f: not f[0].startswith("10.9.8.")))
    made_up = data.draw(st.lists(GARBAGE, max_size=3))
    hops = [text, *inner]
    cut = data.draw(st.integers(0, len(hops)))  # proxies append to the header, or add another one
    ours = [", ".join(part).encode() for part in (hops[:cut], hops[cut:]) if part]
    proxies = Proxies(["10.9.8.0/24"])
    assert proxies.client("10.9.8.1", [*made_up, *ours]) == plain
    glued = b", ".join([*made_up, ", ".join(hops).encode()])
    assert proxies.client("::ffff:10.9.8.1", [glued]) == plain


@fast
@given(st.lists(GARBAGE, max_size=5), st.lists(st.one_of(V4, V6).map(str), max_size=4))
def test_whatever_is_said_the_client_is_an_address(said, chain):
    proxies = Proxies(["127.0.0.1", "::1", "10.0.0.0/8"])
    found = proxies.client("127.0.0.1", [*(c.encode() for c in chain), *said])
    assert str(ipaddress.ip_address(found)) == found


@fast
@given(st.lists(V4.map(str), min_size=1, max_size=5))
def test_plain_chains_are_read_as_uvicorn_reads_them(chain):
    ours = ["10.0.0.0/8", "127.0.0.1"]
    reference = _TrustedHosts(ours).get_trusted_client_address(", ".join(chain))[0]
    assert Proxies(ours).client("127.0.0.1", [", ".join(chain).encode()]) == reference


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ([], "127.0.0.1"),
        ([b""], "127.0.0.1"),
        ([b"unix:"], "127.0.0.1"),
        ([b"192.0.2.1, unix:"], "127.0.0.1"),
        ([b"192.0.2.1,"], "127.0.0.1"),
        ([b"192.0.2.1, 127.0.0.1"], "192.0.2.1"),
        ([b"198.51.100.9, 192.0.2.1"], "192.0.2.1"),
        ([b"198.51.100.9", b"192.0.2.1"], "192.0.2.1"),
        ([b"[2001:DB8::1]:443"], "2001:db8::1"),
        ([b"fe80::1%eth0"], "fe80::1"),
    ],
)
def test_hops_as_they_come(said, want):
    assert Proxies(["127.0.0.1"]).client("127.0.0.1", said) == want


def test_a_connection_without_an_address_is_no_trusted_one():
    assert Proxies(["127.0.0.1"]).client("", [b"192.0.2.1"]) == ""
    assert Proxies(["127.0.0.1"]).client("/run/page.sock", [b"192.0.2.1"]) == "/run/page.sock"


@pytest.mark.parametrize(
    ("said", "want"),
    [([b"https"], True), ([b"HTTPS"], True), ([b"http"], False), ([], False), ([b""], False), ([b"https, http"], False),
     ([b"http", b"https"], False), ([b"https", b"https"], True), ([b"https;"], False)],
)  # fmt: skip
def test_tls_is_believed_where_all_say_so(said, want):
    assert Proxies(["127.0.0.1"]).encrypted("127.0.0.1", said) is want


@pytest.mark.parametrize("name", ["", "*", "nginx", "127.0.0.1:80", "10.0.0.1/8", "127.0.0.0.0", "http://127.0.0.1"])
def test_a_proxy_is_an_address_or_a_network(name):
    with pytest.raises(CrossplayError, match="--proxy"):
        Proxies([name])


# -- how often ---------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_guesser_is_stopped_and_goes_on_slowly():
    clock = Clock()
    tries = Tries(3, 0.5, clock)
    for n in range(3):
        assert tries.may("a")
        tries.wrong("a", f"guess {n}")
    assert not tries.may("a")
    assert tries.may("b"), "others are not meant"
    clock.now = 1.9
    assert not tries.may("a")
    clock.now = 2.0
    assert tries.may("a")
    tries.wrong("a", "guess 4")
    assert not tries.may("a")
    clock.now = 1e6
    for n in range(3):
        assert tries.may("a"), "no more than at once, however long nobody tried"
        tries.wrong("a", f"late {n}")
    assert not tries.may("a")


def test_the_same_wrong_one_again_is_no_further_guess():
    tries = Tries(3, 0.0, Clock())
    for _ in range(100):
        tries.wrong("a", "an old link")
    assert tries.may("a")
    tries.wrong("a", b"one")
    assert tries.may("a")
    tries.wrong("a", "two")
    assert not tries.may("a")


@fast
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8), st.floats(0, 5)), max_size=60))
def test_no_client_ever_has_more_wrong_ones_judged_than_it_may(steps):
    clock, at_once, rate = Clock(), 4, 0.5
    tries, judged = Tries(at_once, rate, clock), {}
    for client, guess, pause in steps:
        clock.now += pause
        if tries.may(str(client)):
            tries.wrong(str(client), str(guess))
            judged.setdefault(client, set()).add(guess)
    for found in judged.values():
        assert len(found) <= at_once + rate * clock.now + 1e-6


def test_who_is_in_stays_in_beside_a_guesser():
    tries = Tries(2, 0.0, Clock())
    tries.right("a link")
    tries.right("another")
    for n in range(5):
        tries.wrong("a", f"guess {n}")
    assert not tries.may("a") and not tries.may("a", "guess 9")
    assert tries.may("a", "a link") and tries.may("a", "another")
    tries.wrong("a", "a link")
    assert not tries.may("a", "a link"), "it is not right any more"
    for n in range(CLIENTS):
        tries.right(str(n))
    assert not tries.may("a", "another") and tries.may("a", str(CLIENTS - 1))


def test_one_who_has_many_addresses_is_one():
    tries = Tries(2, 0.0, Clock())
    for n in range(2):
        tries.wrong(f"2001:db8:1:2::{n}", f"guess {n}")
    assert not tries.may("2001:db8:1:2:ffff::9") and tries.may("2001:db8:1:3::1")
    assert name_of("192.0.2.1") == "192.0.2.1" and name_of("") == "" and name_of("testclient") == "testclient"


def test_what_is_remembered_has_bounds():
    tries = Tries(5, 0.0, Clock())
    for n in range(CLIENTS + 10):
        tries.wrong(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "x")
    for n in range(50):
        tries.wrong("one", str(n))
    assert len(tries._known) == CLIENTS and len(tries._known["one"].given) == 5


def test_the_client_of_a_request_is_known_in_its_tasks_and_threads_alone():
    async def one(client):
        now_from(client)
        await asyncio.sleep(0)
        return client_now(), await asyncio.to_thread(client_now)

    async def main():
        return await asyncio.gather(*(asyncio.create_task(one(f"10.0.0.{n}")) for n in range(5)))

    assert asyncio.run(main()) == [(f"10.0.0.{n}",) * 2 for n in range(5)]
    assert client_now() == ""


# -- the owner's token -------------------------------------------------------------------------------------


def behind(tmp_path, peer="127.0.0.1", proxies=("127.0.0.1",)):
    """A client that reaches the page from `peer`."""
    app = make_app(Desk(tmp_path), token=TOKEN, names=["play.example"], proxies=proxies)
    return TestClient(app, base_url="http://play.example", client=(peer, 5000))


def log_in(client, token, **headers):
    return client.post("/api/v1/login", json={"token": token}, headers=headers).status_code


def who(client, **headers):
    answer = client.get("/api/v1/who", headers=headers)
    return answer.status_code, answer.json().get("owner")


def test_wrong_tokens_of_the_owner_are_counted_for_each_client(tmp_path):
    with behind(tmp_path) as client:
        guesser, teacher = {"x-forwarded-for": "192.0.2.66"}, {"x-forwarded-for": "192.0.2.1"}
        codes = [log_in(client, f"guess {n}", **guesser) for n in range(OWNER_TRIES[0] + 2)]
        assert codes == [401] * OWNER_TRIES[0] + [429] * 2
        assert log_in(client, TOKEN, **guesser) == 429, "what it guesses now is not judged"
        assert who(client, authorization=f"Bearer {TOKEN}", **guesser)[0] == 429
        assert who(client, authorization=f"Bearer {TOKEN}", **teacher) == (200, True)
        spoofed = {"x-forwarded-for": "203.0.113.5, 192.0.2.66"}
        assert log_in(client, TOKEN, **spoofed) == 429, "the last hop counts, not the one that was made up"
        assert log_in(client, TOKEN, **teacher) == 200
        assert who(client, **guesser) == (200, True), "an owner who is logged in stays so, whoever sits beside"


@pytest.mark.parametrize("header", ["authorization", "body"])
def test_wrong_tokens_are_counted_however_they_come(tmp_path, header):
    with behind(tmp_path) as client:
        for n in range(OWNER_TRIES[0]):
            if header == "body":
                log_in(client, f"guess {n}")
            else:
                assert who(client, authorization=f"Bearer guess {n}") == (200, False)
        assert who(client, authorization=f"Bearer {TOKEN}")[0] == 429 == log_in(client, TOKEN)


def test_forwarded_headers_of_strangers_change_nothing(tmp_path):
    """No proxy is named, or it is another one: whoever makes up a new address each time is still one client."""
    for peer, proxies in (("127.0.0.1", ()), ("192.0.2.66", ("127.0.0.1",))):
        with behind(tmp_path, peer, proxies) as client:
            for n in range(OWNER_TRIES[0]):
                log_in(client, f"guess {n}", **{"x-forwarded-for": f"10.0.0.{n}", "x-real-ip": f"10.0.0.{n}"})
            assert log_in(client, TOKEN, **{"x-forwarded-for": "10.1.1.1", "forwarded": "for=10.1.1.1"}) == 429


def test_right_tokens_use_up_nothing(tmp_path):
    with behind(tmp_path) as client:
        for n in range(OWNER_TRIES[0] - 1):
            log_in(client, f"guess {n}")
        for _ in range(100):
            assert who(client, authorization=f"Bearer {TOKEN}") == (200, True)
        assert log_in(client, TOKEN) == 200


def test_tls_is_known_from_the_proxy(tmp_path):
    def secure(client, **headers):
        return (
            "secure"
            in client.post("/api/v1/login", json={"token": TOKEN}, headers=headers).headers["set-cookie"].lower()
        )

    with behind(tmp_path) as client:
        assert secure(client, **{"x-forwarded-proto": "https"})
        assert not secure(client, **{"x-forwarded-proto": "http"})
        both = {"x-forwarded-proto": "https", "origin": "http://play.example"}
        assert client.get("/api/v1/who", headers=both).status_code == 403, "a page in clear is another site"
    with behind(tmp_path, proxies=()) as client:
        assert not secure(client, **{"x-forwarded-proto": "https"})
        assert secure(client, origin="https://play.example")


def test_the_cookie_cannot_be_made_from_the_token(tmp_path):
    """Or tokens could be guessed through it, where they are not counted."""
    seen = set()
    for _ in range(2):
        with behind(tmp_path) as client:
            log_in(client, TOKEN)
            seen.add(client.cookies["crossplay"])
    assert len(seen) == 2


@pytest.mark.parametrize("beside", ['settings={"dark": true, "n": [1]}', "a b=c", "=x", 'x="', "crossplay=old"])
def test_cookies_of_other_servers_hide_ours_from_nobody(tmp_path, beside):
    with behind(tmp_path) as client:
        log_in(client, TOKEN)
        ours = client.cookies["crossplay"]
        client.cookies.clear()
        assert who(client, cookie=f"{beside}; crossplay={ours}") == (200, True)
        assert who(client, cookie=f"crossplay={ours}; {beside}") == (200, True)
        assert who(client, cookie=beside) == (200, False)
