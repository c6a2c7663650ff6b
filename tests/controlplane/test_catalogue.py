"""Plugin catalogues: where they come from, and what is none."""

from __future__ import annotations

import hashlib
import json

import pytest

from controlplane import catalogue
from controlplane.catalogue import Catalogues
from controlplane.model import BlobRow
from headrace.errors import InvalidError
from tests.controlplane.conftest import Rules


async def test_the_embedded_engine_tells_its_own(rules: Rules) -> None:
    await rules.catalogues.ask_embedded()
    known = await rules.catalogues.of([])
    assert list(known) == [rules.catalogues.embedded]
    names = {plugin["name"] for plugin in known[rules.catalogues.embedded]["inputs"]}
    assert "tail" in names


async def test_a_stored_one_is_read_when_it_is_asked_for_and_an_unknown_one_is_missing(rules: Rules) -> None:
    data = json.dumps({"inputs": []}).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    async with rules.store.write() as tx:
        await tx.put(BlobRow(sha256=sha256, data=data, at=rules.clock.now()))
    assert await Catalogues(store=rules.store).of([sha256, "0" * 64, ""]) == {sha256: {"inputs": []}}


async def test_an_engine_that_fails_is_no_reason_to_fail(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/bin/false", "/nowhere/python"):
        monkeypatch.setattr(catalogue.sys, "executable", program)
        await rules.catalogues.ask_embedded()
        assert rules.catalogues.embedded == ""
        assert await rules.catalogues.of([]) == {}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000, b'{"x": ' + b" " * (8 << 20) + b"1}"]
)
def test_what_is_no_catalogue_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidError):
        catalogue.parse(data)
