"""Output `null`: takes everything, keeps nothing."""

from dataclasses import dataclass

from agent.engine.config import STRING, option
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class NullConfig:
    """What the null output takes."""

    format: str = option(STRING, "json", help="taken; has no effect")


@outputs.register("null", NullConfig, signals=("logs", "metrics", "traces"))
class Null:
    """Throws records away."""

    def __init__(self, config: NullConfig, context: Context) -> None:
        pass

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch) -> Result:
        return Result.OK

    async def close(self) -> None:
        pass
