"""Errors to statuses and back: every class, and what others' servers and proxies answer."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from headrace import codec, errors, status
from headrace.codec import ErrorDetail
from headrace.errors import ConfirmError, HeadraceError, InvalidError, ProtocolError, UnavailableError
from headrace.types import Fault

HANDSHAKE = "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1: SSL routines:OPENSSL_internal"


def classes(cls: type[HeadraceError] = HeadraceError) -> list[type[HeadraceError]]:
    return [cls, *(below for direct in cls.__subclasses__() for below in classes(direct))]


OURS = [cls for cls in classes() if cls.__module__ == errors.__name__]


def failure(
    code: grpc.StatusCode, details: str = "", detail: bytes | None = None, key: str = status.METADATA_KEY
) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*([] if detail is None else [(key, detail)]))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def test_every_error_has_a_code_of_its_own_and_a_status() -> None:
    codes = [cls.code for cls in OURS]
    assert len(set(codes)) == len(codes)
    assert set(codes) == set(status.STATUS_BY_CODE)


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.code)
def test_an_error_comes_back_as_it_went(cls: type[HeadraceError]) -> None:
    error = cls("what, which one, why", faults=(Fault(message="f", plugin="grep", line=3),), confirm=7)
    sent = failure(status.STATUS_BY_CODE[cls.code], status.message_of(error), status.detail_of(error))
    back = status.error_of(sent, target="127.0.0.1:1")
    assert type(back) is cls
    assert (back.message, back.faults, back.confirm) == (error.message, error.faults, error.confirm)


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=lambda c: c.name
)
def test_every_status_without_a_detail_is_some_error_that_names_the_target(code: grpc.StatusCode) -> None:
    back = status.error_of(failure(code, "because"), target="host:1")
    assert "host:1" in back.message


def test_a_detail_of_a_newer_version_is_still_an_error_with_its_message() -> None:
    detail = codec.encode(ErrorDetail(code="from_the_future"))
    back = status.error_of(failure(grpc.StatusCode.ABORTED, "text", detail), target="host:1")
    assert type(back) is HeadraceError
    assert back.message == "text"


def test_a_detail_that_is_garbage_is_passed_over() -> None:
    back = status.error_of(failure(grpc.StatusCode.NOT_FOUND, "text", b"\xff\xff"), target="host:1")
    assert back.code == "not_found"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Connection refused", "Connection refused"),
        (
            f"{HANDSHAKE}: WRONG_VERSION_NUMBER: Invalid certificate verification context: OK",
            "it does not speak TLS there",
        ),
        (
            f"{HANDSHAKE}: CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "its TLS certificate is not by an auth",
        ),
        ("Custom check failed: UNAUTHENTICATED: Hostname Verification Check failed.", "is for another name"),
        ("Failed to create security handshaker.", "are not certificates and keys in PEM"),
        ("Socket closed", "it may want TLS, or a client certificate"),
    ],
)
def test_an_unreachable_target_is_named_with_the_reason_and_what_to_do(said: str, meant: str) -> None:
    details = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: {said}"
    sent = failure(grpc.StatusCode.UNAVAILABLE, details)
    back = status.error_of(sent, target="127.0.0.1:1", hint="start one")
    assert type(back) is UnavailableError
    assert back.message.startswith("cannot reach the control plane at 127.0.0.1:1 (")
    assert meant in back.message
    assert back.message.endswith("); start one")


def test_a_server_of_another_kind_is_a_protocol_error() -> None:
    back = status.error_of(failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"), target="host:1")
    assert type(back) is ProtocolError
    assert "is it a control plane, and as new?" in back.message


def test_more_faults_than_fit_are_cut_short_and_the_code_stays() -> None:
    error = InvalidError("many", faults=[Fault(message="m" * 100, line=line) for line in range(1, 5000)])
    detail = codec.decode(ErrorDetail, status.detail_of(error))
    assert detail.code == "invalid"
    assert 100 < len(detail.faults) < 5000
    assert detail.faults[0].line == 1


def test_a_long_message_is_bounded() -> None:
    assert len(status.message_of(ConfirmError("x" * 100_000))) < 5000
