"""Filter `lua`: a function of the user's, in a real Lua, says what becomes of each record.

The function takes (tag, time, record) and gives (code, time, record): -1 drops the record, 0 leaves it, 1 takes the new
one and its time, 2 the new one only; a list of maps becomes several records. With five parameters it also takes groups
(always empty here) and metadata, and gives (code, time, metadata, record). LuaJIT where there is one, else Lua 5.1.

A script that fails leaves the whole batch as it was, as in Fluent Bit. It can reach whatever this process can.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from agent.engine.config import BOOLEAN, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit, PluginError
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.registry import filters

_OTHER_HALF = Path(__file__).with_suffix(".lua")
_LUAS = ("lupa.luajit21", "lupa.lua51")


@dataclass(frozen=True, slots=True, kw_only=True)
class LuaConfig:
    """What the lua filter takes."""

    call: str = option(STRING, required=True, help="name of the function")
    script: str | None = option(STRING, help="file that defines it, also relative to the configuration's folder")
    code: str | None = option(STRING, help="source text that defines it, in place of a script")
    type_int_key: str = option(STRING, "", help="keys, split by spaces, whose numbers become whole ones")
    type_array_key: str = option(STRING, "", help="keys, split by spaces, whose tables become lists, also empty ones")
    time_as_table: bool = option(BOOLEAN, False, help="times as {sec, nsec}, exact, instead of a number of seconds")
    protected_mode: bool = option(BOOLEAN, True, help="taken; a failing script never ends the engine")
    enable_flb_null: bool = option(BOOLEAN, False, help="nulls as flb_null instead of nothing")


@filters.register("lua", LuaConfig)
class Lua:
    """Runs records through a Lua function."""

    def __init__(self, config: LuaConfig, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._lua, self._error = _runtime()
        if config.code is not None:
            source, chunk, name = config.code, "fluentbit.lua", "code"
        elif config.script is not None:
            source, chunk, name = context.text_file("script", config.script), config.script, "script"
        else:
            raise InvalidProperty("script", "name a script, or give its text as 'code'")
        load = self._lua.eval("function(text, name) return loadstring(text, '=' .. name) end")
        loaded = load(source.encode(), chunk.encode())
        self._script, fault = loaded if isinstance(loaded, tuple) else (loaded, None)
        if self._script is None:
            raise InvalidProperty(name, f"is not Lua: {fault.decode(errors='replace')}")
        self._variables = {name.encode(): value.encode() for name, value in context.all_variables().items()}
        self._run: Any = None

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if not batch.records:
            return batch
        config = self._config
        times = orjson.dumps([part for when in batch.times for part in divmod(when, NANOSECONDS)])
        records = orjson.dumps(batch.records, option=orjson.OPT_NON_STR_KEYS)
        try:
            text = self._run(
                config.call.encode(),
                config.time_as_table,
                batch.tag.encode(),
                times,
                records,
                orjson.dumps(batch.metadata or []),
            )
            return self._take(batch, orjson.loads(text.decode("utf-8", "replace")))
        except (self._error, ValueError) as error:
            self._log.error("%s() failed, %d records are left as they were: %s", config.call, len(batch), error)
            return batch

    async def open(self) -> None:
        config = self._config
        configure, self._run = self._lua.execute(_OTHER_HALF.read_text(encoding="utf-8"))
        whole, lists = config.type_int_key.split(), config.type_array_key.split()
        configure(config.enable_flb_null, orjson.dumps(whole), orjson.dumps(lists))
        self._lua.globals()[b"FLB_ENV"] = self._lua.table_from(self._variables)
        try:
            self._script()
        except self._error as error:
            raise PluginError(f"the script fails: {error}") from None
        if self._lua.eval(f"type(_G[{orjson.dumps(config.call).decode()}])") != b"function":
            raise PluginError(f"the script defines no function {config.call!r}; name it with 'call'")

    async def close(self) -> None:
        self._run = None

    def _take(self, batch: Batch, results: list[list[Any]]) -> Batch:
        """The batch that the results make. Raises ValueError where one is no map or list of maps."""
        times: list[int] = []
        records: list[Record] = []
        metadata: list[Record] = []
        for at, code, seconds, nanoseconds, made, about in results:
            if code == 2 and about is None and batch.metadata is None and type(made) is dict:  # the usual case
                times.append(batch.times[at])
                records.append(made)
                metadata.append({})
                continue
            own = batch.metadata[at] if batch.metadata is not None else {}
            if code not in (1, 2):
                if code != 0:
                    self._log.error("%s() gave the unknown code %d; the record is kept", self._config.call, code)
                new, when = [batch.records[at]], batch.times[at]
            else:
                new = made if isinstance(made, list) else [made]
                when = seconds * NANOSECONDS + nanoseconds if code == 1 else batch.times[at]
                own = own if about is None else about
            if not all(isinstance(record, dict) for record in new):
                raise ValueError("it gave something that is neither a map nor a list of maps")
            each = own if isinstance(own, list) and len(own) == len(new) else [own] * len(new)
            times += [when] * len(new)
            records += new
            metadata += [dict(one) if isinstance(one, dict) else {} for one in each]
        size = batch.size * len(records) // len(batch) if batch.records else 0
        return Batch(
            batch.tag, times, records, metadata if any(metadata) else None, min(size, batch.size) or len(records)
        )


def _runtime() -> tuple[Any, type[Exception]]:
    """A new Lua in which strings are bytes, and its error class. Raises InvalidProperty when none is installed."""
    for name in _LUAS:
        try:
            lua = importlib.import_module(name)
        except ImportError:
            continue
        runtime = lua.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attribute,
        )
        return runtime, lua.LuaError
    raise InvalidProperty("name", "needs a Lua; install 'headrace[lua]'")


def _no_attribute(_object: Any, name: Any, _is_setting: bool) -> Any:
    raise AttributeError(f"no access to {name!r}")
