"""Functions in a real Lua. The expected records are what Fluent Bit made of the same scripts."""

from __future__ import annotations

import asyncio
import logging
import textwrap
from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.filters import lua
from agent.engine.plugin import PluginError
from agent.engine.record import Batch
from agent.engine.registry import filters
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit


async def run(plugins: PluginKit, code: str, *records: dict[str, Any], **properties: Any) -> Batch:
    plugin = plugins.make(filters, "lua", code=textwrap.dedent(code), **{"call": "f", **properties})
    await plugin.open()
    batch = Batch("app.log", [NOW] * len(records), list(records), size=100)
    result = plugin.process(batch, lambda _batch: None)
    await plugin.close()
    assert isinstance(result, Batch)
    return result


@pytest.mark.parametrize(
    ("code", "records"),
    [
        ("function f(t, ts, r) return -1, 0, 0 end", []),
        ("function f(t, ts, r) r.x = 1 return 0, 5, r end", [{"a": 1}]),
        ("function f(t, ts, r) r.x = t return 1, ts, r end", [{"a": 1, "x": "app.log"}]),
        ("function f(t, ts, r) return 2, 0, {b = 2} end", [{"b": 2}]),
        ("function f(t, ts, r) return 2, 0, {} end", [{}]),
        ("function f(t, ts, r) return 2, 0, {r, {b = 2}} end", [{"a": 1}, {"b": 2}]),
        ("function f(t, ts, r) return 7, 0, {b = 2} end", [{"a": 1}]),
    ],
)
async def test_the_code_says_what_becomes_of_a_record(
    plugins: PluginKit, code: str, records: list[dict[str, Any]]
) -> None:
    assert (await run(plugins, code, {"a": 1})).records == records


async def test_values_keep_their_kind_on_the_way_through_lua(plugins: PluginKit) -> None:
    record = {
        "text": 'é\u0001"\\/\n\t',
        "": "no name",
        "n": -3,
        "big": 2**53,
        "float": 1.5,
        "small": 1e-300,
        "yes": True,
        "no": False,
        "list": [1, [], {}, {"k": [{"a": "b"}]}],
        "holes": [1, None, "x"],
        "empty": [],
        "map": {},
    }
    code = "function f(t, ts, r) return 2, 0, r end"
    assert (await run(plugins, code, {**record, "gone": None})).records == [record]


@pytest.mark.parametrize(
    ("lua_value", "value"),
    [
        ("{1, 2, x = 3}", [1, 2]),
        ("{[3] = 'x'}", [None, None, "x"]),
        ("{b = {}}", {"b": {}}),
        ("2.0", 2),
        ("-0.5", -0.5),
        ("1e300", 10**300),
        ("0/0", None),
        ("1/0", None),
        ("print", None),
        ("string.sub('é', 1, 1)", "\ufffd"),
        ("'\\0\\31\\127'", "\x00\x1f\x7f"),
    ],
)
async def test_what_lua_makes_becomes_what_fluent_bit_makes_of_it(
    plugins: PluginKit, lua_value: str, value: object
) -> None:
    (made,) = (await run(plugins, f"function f(t, ts, r) return 2, 0, {{v = {lua_value}}} end", {})).records
    assert made["v"] == pytest.approx(value) if isinstance(value, int | float) else made["v"] == value


async def test_numbers_and_tables_of_named_keys_are_converted(plugins: PluginKit) -> None:
    code = (
        "function f(t, ts, r) return 2, 0, {took = 1.9, cost = 2.7, none = {}, odd = {a = 1}, deep = {took = 2.5}} end"
    )
    (made,) = (await run(plugins, code, {}, type_int_key="took tries", type_array_key="none odd")).records
    assert made == {"took": 1, "cost": 2.7, "none": [], "odd": [], "deep": {"took": 2}}


async def test_a_record_keeps_its_state_between_calls_and_times_are_taken_with_code_1(plugins: PluginKit) -> None:
    code = "n = 0 function f(t, ts, r) n = n + 1 return n, ts + 1.25, {n = n} end"
    result = await run(plugins, code, {}, {})
    assert result.records == [{"n": 1}, {"n": 2}]
    assert result.times == [NOW + 1_250_000_000, NOW]


async def test_times_as_a_table_are_exact(plugins: PluginKit) -> None:
    code = "function f(t, ts, r) return 1, {sec = ts.sec + 1, nsec = ts.nsec + 7}, r end"
    assert (await run(plugins, code, {"a": 1}, time_as_table=True)).times == [NOW + 1_000_000_007]


async def test_a_function_of_five_parameters_sees_and_makes_metadata(plugins: PluginKit) -> None:
    plugin = plugins.make(
        filters, "lua", call="f", code="function f(t, ts, g, m, r) m.x = 1 r.m = m.m return 2, ts, m, r end"
    )
    await plugin.open()
    result = plugin.process(Batch("t", [1, 2], [{}, {}], [{"m": 3}, {}]), lambda _batch: None)
    assert result.records == [{"m": 3}, {}]
    assert result.metadata == [{"m": 3, "x": 1}, {"x": 1}]


async def test_nulls_are_seen_where_that_is_asked_for(plugins: PluginKit) -> None:
    code = "function f(t, ts, r) r.was = (r.z == flb_null) r.y = flb_null return 2, 0, r end"
    (made,) = (await run(plugins, code, {"z": None, "l": [None]}, enable_flb_null=True)).records
    assert made == {"z": None, "l": [None], "was": True, "y": None}


@pytest.mark.parametrize(
    "body",
    ["error('no')", "return 2, 0, 5", "return 2, 0, {1, 2}", "return 2, 0, nil", "local r = {} r.r = r return 2, 0, r"],
)
async def test_a_script_that_fails_leaves_the_whole_batch_as_it_was(
    plugins: PluginKit, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = f"n = 0 function f(t, ts, r) n = n + 1 if n == 1 then return -1, 0, 0 end {body} end"
    assert (await run(plugins, code, {"a": 1}, {"b": 2})).records == [{"a": 1}, {"b": 2}]
    assert "f() failed, 2 records are left as they were" in caplog.text


async def test_a_script_cannot_reach_into_the_engine(plugins: PluginKit) -> None:
    code = """
        function f(t, ts, r)
          local ok = pcall(function() return flb_null.__class__ end)
          return 2, 0, {python = type(python), package = type(package.loaded.python), reached = ok}
        end
    """
    (made,) = (await run(plugins, code, {}, enable_flb_null=True)).records
    assert made == {"python": "nil", "package": "nil", "reached": False}


async def test_a_script_sees_the_variables_of_the_configuration_and_is_made_anew_when_they_change(
    kit: EngineKit,
) -> None:
    text = """
        env: {COLOUR: red}
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, rate: 100}]
          filters: [{name: lua, match: '*', call: f, script: variables.lua}]
          outputs: [{name: file, match: '*', file: out, format: plain}]
    """
    Path("variables.lua").write_text("function f() return 2, 0, {c = FLB_ENV.COLOUR .. FLB_ENV.HOSTNAME} end")
    async with kit.run(text) as running:
        assert set(await kit.has_lines("out", 1)) == {'{"c":"redhere"}'}
        assert await running.reload(text.replace("red", "blue"))
        async with asyncio.timeout(20):
            while '{"c":"bluehere"}' not in kit.lines("out"):
                await kit.has_lines("out", len(kit.lines("out")) + 1)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"call": "f"}, "name a script, or give its text as 'code'"),
        ({"call": "f", "code": "function ("}, "property 'code': is not Lua: fluentbit.lua:1"),
        ({"call": "f", "script": "gone.lua"}, "property 'script': cannot read 'gone.lua': No such file"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_anything_runs(
    plugins: PluginKit, properties: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidProperty, match=message.replace("(", r"\(")):
        plugins.make(filters, "lua", **properties)


@pytest.mark.parametrize(
    ("code", "message"), [("x = 1", "no function 'f'"), ("error('broken')", "the script fails: .*broken")]
)
async def test_a_script_without_the_function_does_not_start(plugins: PluginKit, code: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        await run(plugins, code)


def test_without_a_lua_the_extra_is_named(plugins: PluginKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lua, "_LUAS", ("not_installed.at_all",))
    with pytest.raises(InvalidProperty, match=r"headrace\[lua\]"):
        plugins.make(filters, "lua", call="f", code="")


async def test_a_reload_takes_a_changed_script_and_keeps_an_unchanged_one(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, rate: 100}]
          filters: [{name: lua, match: '*', script: change.lua, call: f}]
          outputs: [{name: file, match: '*', file: out, format: plain}]
    """
    script = Path("change.lua")
    script.write_text("function f(t, ts, r) return 2, 0, {v = 1} end")
    async with kit.run(text) as running:
        await kit.has_lines("out", 1)
        assert await running.reload(text)
        assert "0 instances are new" in caplog.text
        script.write_text("function f(t, ts, r) return 2, 0, {v = 2} end")
        assert await running.reload(text)
        assert "1 instances are new" in caplog.text
        script.write_text("function f(")
        assert not await running.reload(text)
        async with asyncio.timeout(20):
            while '{"v":2}' not in kit.lines("out"):
                await kit.has_lines("out", len(kit.lines("out")) + 1)
