"""Messages over several records. Golden case `multiline_filter` shows what they become; here: when, none lost."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.filters.multiline import MultilineFilter, MultilineFilterConfig
from agent.engine.record import Batch
from tests.agent.engine.conftest import Emitted, EngineKit, PluginKit
from tests.processes import eventually

OWN = """
multiline_parsers:
  - name: own
    type: regex
    rules:
      - {state: start_state, regex: '/^\\d+ /', next_state: more}
      - {state: more, regex: '/^ /', next_state: more}
"""


def make(plugins: PluginKit, *, may_emit: bool = True, **properties: object) -> MultilineFilter:
    config = MultilineFilterConfig(**{"multiline_parser": ("own",), "key_content": "log", **properties})  # type: ignore[arg-type]
    return MultilineFilter(config, replace(plugins.context(parsers=OWN), may_emit=may_emit))


def lines(*texts: str, tag: str = "t") -> Batch:
    return Batch(tag, [1] * len(texts), [{"log": text} for text in texts], [{"m": text} for text in texts], 100)


async def test_a_message_may_be_spread_over_batches_which_are_kept_until_it_is_complete(plugins: PluginKit) -> None:
    plugin, emitted = make(plugins), Emitted()
    for texts, held in ((("1 a",), 1), ((" b",), 2), ((" c", "2 d"), 1), (("plain",), 0)):
        assert len(plugin.process(lines(*texts), emitted)) == 0
        assert emitted.held == held
    records = [record["log"] for batch in emitted for record in batch.records]
    assert records == ["1 a\n b\n c", "2 d", "plain"]
    assert [about["m"] for batch in emitted for about in batch.metadata or []] == ["1 a", "2 d", "plain"]
    await plugin.close()


async def test_what_nothing_is_added_to_counts_as_complete_after_its_time(plugins: PluginKit) -> None:
    plugin, emitted = make(plugins, flush_ms=1), Emitted()
    plugin.process(lines("1 a", " b"), emitted)
    await eventually(lambda: emitted)
    assert (emitted[0].records, emitted.held) == ([{"log": "1 a\n b"}], 0)
    await plugin.close()


async def test_tags_do_not_mix_and_closing_emits_what_is_kept(plugins: PluginKit) -> None:
    plugin, emitted = make(plugins), Emitted()
    plugin.process(lines("1 a", tag="x"), emitted)
    plugin.process(lines("2 b", tag="y"), emitted)
    plugin.process(lines(" c", tag="x"), emitted)
    await plugin.close()
    assert [(batch.tag, batch.records) for batch in emitted] == [("x", [{"log": "1 a\n c"}]), ("y", [{"log": "2 b"}])]
    assert emitted.held == 0


def test_without_a_buffer_a_batch_is_all_that_is_looked_at(plugins: PluginKit) -> None:
    plugin = make(plugins, buffer=False, may_emit=False)
    assert plugins.filtered(plugin, {"log": "1 a"}, {"log": " b"}, {"x": 1}) == [{"log": "1 a\n b"}, {"x": 1}]
    assert plugins.filtered(plugin, {"log": "1 c"}) == [{"log": "1 c"}]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"multiline_parser": ()}, "name at least one"),
        ({"multiline_parser": ("jva",)}, "did you mean 'java'"),
        ({"flush_ms": 0}, "expected more than 0"),
        ({"may_emit": False}, "a processor cannot keep records back"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        make(plugins, **properties)  # type: ignore[arg-type]


PIPELINE = f"""
service: {{flush: 0.05}}
{OWN}
pipeline:
  inputs: [{{name: tail, path: in.log, db: off.db, read_from_head: on, tag: t}}]
  filters:
    - {{name: multiline, match: t, multiline.parser: own, multiline.key_content: log, flush_ms: 600000}}
    - {{name: modify, match: t, add: k KIND}}
  outputs: [{{name: file, match: '*', file: out, format: plain}}]
"""


def committed(kit: EngineKit) -> int:
    database = sqlite3.connect(kit.folder / "off.db")
    try:
        return int(database.execute("SELECT offset FROM in_tail_files").fetchone()[0])
    finally:
        database.close()


async def test_a_file_is_read_again_from_the_first_line_that_waits_and_a_stop_lets_nothing_wait(kit: EngineKit) -> None:
    log = kit.folder / "in.log"
    log.write_text("1 a\n")
    async with kit.run(PIPELINE) as running:
        await eventually(lambda: running.metrics("filter", "multiline.0").records == 1)
        with log.open("a") as file:
            file.write(" b\n2 c\n")
        await kit.has_lines("out", 1)
        await eventually(lambda: committed(kit) == len("1 a\n"))  # the second batch holds the beginning of a message
        assert not await running.stop()
    assert kit.lines("out") == ['{"log":"1 a\\n b","k":"KIND"}', '{"log":"2 c","k":"KIND"}']
    assert committed(kit) == len("1 a\n b\n2 c\n")


async def test_a_reload_that_changes_the_filter_lets_nothing_wait_either(kit: EngineKit) -> None:
    (kit.folder / "in.log").write_text("1 a\n b\n")
    async with kit.run(PIPELINE) as running:
        await eventually(lambda: running.metrics("filter", "multiline.0").records == 2)
        assert await running.reload(PIPELINE.replace("600000", "700000").replace("KIND", "new"))
        assert await kit.has_lines("out", 1) == ['{"log":"1 a\\n b","k":"new"}']


def parts(identity: str, *texts: str, last: bool = False) -> Batch:
    """Parts of one message; its last one is the last of these, or comes later."""
    flags = ["false"] * (len(texts) - 1) + ["true" if last else "false"]
    records = [
        {"log": text, "partial_message": "true", "partial_id": identity, "partial_last": flag, "n": 1}
        for text, flag in zip(texts, flags, strict=True)
    ]
    return Batch("t", [5] * len(texts), records, None, 100)


def make_partial(plugins: PluginKit, **properties: object) -> MultilineFilter:
    return make(plugins, mode="partial_message", multiline_parser=(), **properties)


async def test_the_parts_of_a_message_wait_for_its_last_one_whatever_comes_between(plugins: PluginKit) -> None:
    plugin, emitted = make_partial(plugins), Emitted()
    for batch, passed, held in (
        (parts("a", "1 ", "2 "), [], 1),
        (parts("b", "x ", "y", last=True), [{"log": "x y", "n": 1}], 1),
        (lines("plain"), [{"log": "plain"}], 1),
        (parts("c", "open"), [], 2),
        (parts("a", "3", last=True), [], 1),
    ):
        assert plugin.process(batch, emitted).records == passed
        assert emitted.held == held
    (whole,) = emitted
    assert (whole.records, whole.times) == ([{"log": "1 2 3", "n": 1}], [5])
    await plugin.close()
    assert (emitted[1].records, emitted.held) == ([{"log": "open", "n": 1}], 0)


async def test_parts_count_as_a_message_after_their_time_or_when_they_are_too_long(plugins: PluginKit) -> None:
    plugin, emitted = make_partial(plugins, flush_ms=1), Emitted()
    plugin.process(parts("a", "late"), emitted)
    await eventually(lambda: emitted)
    assert (emitted[0].records, emitted.held) == ([{"log": "late", "n": 1}], 0)
    too_long = "x" * (plugins.context().multiline_limit + 1)
    assert plugin.process(parts("a", too_long), emitted).records == [{"log": too_long, "n": 1}]
    assert emitted.held == 0
    await plugin.close()


@pytest.mark.parametrize(
    ("properties", "name"), [({"buffer": False}, "buffer"), ({"key_content": None}, "key_content")]
)
def test_partial_messages_need_a_buffer_and_a_key(plugins: PluginKit, properties: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidProperty, match=name):
        make_partial(plugins, **properties)


async def test_a_message_of_two_reads_that_a_second_filter_keeps_acknowledges_neither(kit: EngineKit) -> None:
    pipeline = f"""
service: {{flush: 0.05}}
{OWN}
pipeline:
  inputs: [{{name: tcp, listen: 127.0.0.1, port: 0}}]
  filters:
    - {{name: multiline, match: '*', mode: partial_message, multiline.key_content: log}}
    - {{name: multiline, match: '*', multiline.parser: own, multiline.key_content: log, flush_ms: 600000}}
  outputs: [{{name: file, match: '*', file: out, format: plain}}]
"""
    acknowledged: list[str] = []
    async with kit.run(pipeline) as running:
        engine = running.engine.pipeline
        assert engine is not None
        (source,) = engine.parts.inputs
        await engine.push(source, parts("a", "1 x "), lambda: acknowledged.append("first"))
        await engine.push(source, parts("a", "y", last=True), lambda: acknowledged.append("second"))
        assert acknowledged == []
        assert running.metrics("filter", "multiline.1").records == 1
    assert kit.lines("out") == ['{"n":1,"log":"1 x y"}']
    assert sorted(acknowledged) == ["first", "second"]
