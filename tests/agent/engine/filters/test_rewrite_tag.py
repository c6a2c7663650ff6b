"""Records under another tag."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.record import Batch
from agent.engine.registry import filters
from tests.agent.engine.conftest import EngineKit, PluginKit


def rewrite(
    plugins: PluginKit, rule: str | list[str], *records: dict[str, object]
) -> tuple[list[object], dict[str, list[object]]]:
    emitted: dict[str, list[object]] = {}
    plugin = plugins.make(filters, "rewrite_tag", rule=rule)
    batch = Batch("app.web.log", [1] * len(records), list(records), None, 100)
    kept = plugin.process(batch, lambda moved: emitted.setdefault(moved.tag, []).extend(moved.records))
    return kept.records, emitted


def test_a_match_moves_the_record_or_copies_it(plugins: PluginKit) -> None:
    records = [{"level": "error", "n": 1}, {"level": "info"}, {"n": 2}]
    assert rewrite(plugins, "$level ^error$ bad false", *records) == (records[1:], {"bad": [records[0]]})
    kept, emitted = rewrite(plugins, "$level ^error$ bad true", *records)
    assert (kept, emitted) == (records, {"bad": [records[0]]})
    assert emitted["bad"][0] is not records[0], "a copy: both go on and may be changed"


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("new", "new"),
        ("$TAG.x", "app.web.log.x"),
        ("$TAG[1]", "web"),
        ("$TAG[9]x", "x"),
        ("a.$1.$0", "a.rr.error"),
        ("a.$7", "a."),
        ("$user['name'].$n", "ada.5"),
        ("$gone.x", ".x"),
        ("$ok-", "true"),
    ],
)
def test_the_new_tag_is_filled_from_the_old_one_the_match_and_the_record(
    plugins: PluginKit, template: str, tag: str
) -> None:
    record = {"level": "error", "user": {"name": "ada"}, "n": 5, "ok-": True}
    assert list(rewrite(plugins, f"$level ^e(rr)or$ {template} false", record)[1]) == [tag]


def test_the_first_rule_that_matches_counts(plugins: PluginKit) -> None:
    rules = ["$a ^1$ one false", "$a . any false"]
    _, emitted = rewrite(plugins, rules, {"a": "1"}, {"a": "2"})
    assert emitted == {"one": [{"a": "1"}], "any": [{"a": "2"}]}


@pytest.mark.parametrize("rule", ["$a x", "a x y false", "$a ( y false", "$a x y maybe", "$[ x y false"])
def test_a_faulty_rule_is_refused(plugins: PluginKit, rule: str) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(filters, "rewrite_tag", rule=rule)


async def test_moved_records_start_at_the_first_filter_again_but_not_at_the_one_that_moved_them(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, tag: a, samples: 1, rate: 1000}]
          filters:
            - {name: modify, match: '*', add: first 1}
            - {name: rewrite_tag, match: '*', rule: '$message . $TAG.moved false'}
            - {name: modify, match: '*.moved', add: last 2}
          outputs: [{name: file, match: '*', file: out}]
    """
    async with kit.run(text) as running:
        await kit.has_lines("out", 1)
        assert running.metrics("filter", "rewrite_tag.1").records == 1
    (line,) = kit.lines("out")
    assert line.startswith("a.moved: [")
    assert line.endswith('{"message":"dummy","first":"1","last":"2"}]')
