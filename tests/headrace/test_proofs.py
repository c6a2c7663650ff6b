"""What agents sign: no two different things have one text, and a credential reads as it was written."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import UnauthenticatedError
from headrace.messages import Hello
from headrace.proofs import CallCredential, call_text, is_call_credential, read_call_credential, session_text
from headrace.security import certificate_of

HELLO = Hello(agent_id="a-1", boot_id="b", session_number=7)

hellos = st.builds(
    Hello, agent_id=st.text(max_size=4), boot_id=st.text(max_size=4), session_number=st.integers(0, 1 << 64)
)


@given(st.tuples(st.binary(max_size=4), hellos), st.tuples(st.binary(max_size=4), hellos))
def test_two_sessions_never_have_one_text(one: tuple[bytes, Hello], other: tuple[bytes, Hello]) -> None:
    assert (session_text(*one) == session_text(*other)) is (one == other)


@pytest.mark.parametrize("change", [{"agent_id": "a-2"}, {"boot_id": "c"}, {"session_number": 8}])
def test_a_proof_is_for_one_session_of_one_process(change: dict[str, object]) -> None:
    assert session_text(b"n", HELLO) != session_text(b"n", replace(HELLO, **change))  # type: ignore[arg-type]
    assert session_text(b"n", HELLO) != session_text(b"m", HELLO)


@given(st.text(max_size=6), st.integers(0, 1 << 50), st.binary(max_size=6), hellos)
def test_a_signature_for_a_call_opens_no_session(agent_id: str, at_ms: int, nonce: bytes, hello: Hello) -> None:
    assert call_text(agent_id, at_ms) != session_text(nonce, hello)


@given(st.from_regex(r"a-[a-z2-9]{10}", fullmatch=True), st.integers(0, 10**15 - 1), st.binary(min_size=1, max_size=80))
def test_a_credential_reads_as_it_was_written(agent_id: str, at_ms: int, signature: bytes) -> None:
    credential = CallCredential(agent_id, at_ms, signature)
    assert is_call_credential(str(credential))
    assert read_call_credential(str(credential)) == credential


@pytest.mark.parametrize(
    "text",
    ["hrp_", "hrp_a", "hrp_a.1", "hrp_.1.AA", "hrp_a.x.AA", "hrp_a.-1.AA", "hrp_a.1.?", "hrp_a.1.A", "hrp_\0.1.AA"],
)
def test_what_is_no_signed_credential_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UnauthenticatedError, match="not a signed credential"):
        read_call_credential(text)


@pytest.mark.parametrize(
    ("uris", "names_agent"),
    [
        ((b"spiffe://i/agent/a-1",), True),
        ((b"https://example.org", b"spiffe://i/agent/a-1"), True),
        ((b"spiffe://i/ns/default/sa/x",), False),
        ((b"spiffe://i/agent/a-1/more",), False),
        ((), False),
    ],
)
def test_only_a_certificate_that_names_an_agent_says_who_it_is(uris: tuple[bytes, ...], names_agent: bool) -> None:
    context = {"x509_pem_cert": [b"pem"], "peer_uri": list(uris)}
    assert certificate_of(context) == (b"pem" if names_agent else b"")
    assert certificate_of({}) == b""
