"""What rows may hold: everything comes back as it was, or is refused by place."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model import (
    BlobRow,
    ChangeRow,
    ObservedRow,
    PipelineRow,
    Topic,
    VariableRow,
)
from controlplane.state import Store
from headrace.errors import InvalidError
from headrace.types import Observed, Phase
from tests.controlplane.state.rows import AT, ONE_OF_EACH, ROW_CLASSES, key_of, values
from tests.controlplane.state.use import abandoned, all_of, variable


@pytest.mark.parametrize("row", ROW_CLASSES, ids=lambda row: row.__name__)
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
async def test_every_row_comes_back_as_it_was(store: Store, row: type, data: st.DataObject):
    rows = data.draw(st.lists(values(row), max_size=4, unique_by=key_of))
    async with abandoned(store) as transaction:
        await transaction.put(*rows)
        assert [await transaction.get(row, *key_of(one)) for one in rows] == rows
        for one in rows:
            assert await transaction.delete(row, *key_of(one))


HOSTILE = {
    "quotes": "'; DROP TABLE plane; --",
    "escapes": '"quoted" \\ and \\\\ \x1b[31m \r\n\t\x01',
    "placeholders": "%s %(name)s :name $1 ? {} {0}",
    "directions": "\u202eright to left\ufeff",
    "planes": "中文 \N{GRINNING FACE} e\u0301",
    "mebibyte": "x" * (1 << 20),
    "nothing": "",
    "space": " ",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_only_text(store: Store, text: str):
    # Keys of an index hold less than a mebibyte on Postgres; what does not fit is refused, not cut.
    row = variable(text[:2000], text, selector=text[:200])
    async with store.write() as transaction:
        await transaction.put(row)
        transaction.log(Topic.VARIABLE, text)
    assert await all_of(store, VariableRow, name=row.name, selector=[row.selector], value=text) == [row]
    assert [change.key for change in await all_of(store, ChangeRow)] == [text]


_PIPELINE = next(row for row in ONE_OF_EACH if isinstance(row, PipelineRow))
_UNSTORABLE = {
    "NUL": (variable("A\0B"), "variables.name", "NUL"),
    "surrogate": (variable("A", "\ud800"), "variables.value", "surrogates not allowed"),
    "number": (replace(_PIPELINE, generation=1 << 63), "pipelines.generation", "64 bits"),
    "naive time": (replace(_PIPELINE, created_at=datetime(2026, 1, 1)), "pipelines.created_at", "time zone"),
    "wrong type": (replace(_PIPELINE, labels=3), "pipelines.labels", "int"),
}


@pytest.mark.parametrize(("row", "place", "why"), _UNSTORABLE.values(), ids=_UNSTORABLE.keys())
async def test_what_no_column_can_hold_is_refused_by_place_and_spoils_nothing(store: Store, row, place: str, why: str):
    async with store.write() as transaction:
        with pytest.raises(InvalidError, match=re.escape(place)) as refusal:
            await transaction.put(variable("COMPANION"), row)
        assert why in str(refusal.value)
        await transaction.put(variable("OTHER"))
    assert await all_of(store, VariableRow) == [variable("OTHER")]


async def test_a_refused_log_entry_leaves_no_gap(store: Store):
    async with store.write() as transaction:
        with pytest.raises(InvalidError):
            transaction.event("kind", "mess\0age")
        assert transaction.log(Topic.AGENT, "a-1") == 1
    assert [row.revision for row in await all_of(store, ChangeRow)] == [1]


async def test_text_inside_of_documents_may_hold_anything(store: Store):
    """An agent's words about its engine must not keep its state from being written."""
    words = "\0 \ud800 \N{GRINNING FACE}"
    row = ObservedRow(
        agent_id="a-1", pipeline="p", observed=Observed(pipeline="p", notes=(words,)), phase=Phase.GOOD, changed_at=AT
    )
    async with store.write() as transaction:
        await transaction.put(row)
    assert await all_of(store, ObservedRow) == [row]


async def test_large_blobs_come_back_whole(store: Store):
    row = BlobRow(sha256="ab", data=bytes(range(256)) * (8 << 12), at=AT)
    async with store.write() as transaction:
        await transaction.put(row)
    async with store.read() as reader:
        assert await reader.get(BlobRow, "ab") == row
