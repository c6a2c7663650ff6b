"""Filter `sysinfo`: adds to each record what engine and machine it comes from."""

import platform
from dataclasses import dataclass

from agent.engine.config import STRING, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
from agent.engine.registry import filters
from agent.engine.version import FOLLOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class SysinfoConfig:
    """What the sysinfo filter takes: under which key each thing goes; without a key it is left out."""

    fluentbit_version_key: str | None = option(STRING, help="key for the version of Fluent Bit that is followed")
    os_name_key: str | None = option(STRING, help="key for the system's name, such as linux")
    hostname_key: str | None = option(STRING, help="key for the host's name")
    os_version_key: str | None = option(STRING, help="key for the system's build")
    kernel_version_key: str | None = option(STRING, help="key for the kernel's release")


@filters.register("sysinfo", SysinfoConfig)
class Sysinfo:
    """Adds the same pairs to every record."""

    def __init__(self, config: SysinfoConfig, context: Context) -> None:
        machine = platform.uname()
        known = (
            (config.fluentbit_version_key, FOLLOWS),
            (config.os_name_key, machine.system.lower()),
            (config.hostname_key, machine.node),
            (config.os_version_key, machine.version),
            (config.kernel_version_key, machine.release),
        )
        self._added = {key: value for key, value in known if key}

    def process(self, batch: Batch, emit: Emit) -> Batch:
        for record in batch.records:
            record.update(self._added)
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass
