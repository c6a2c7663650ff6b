"""The options and arguments that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from headrace.cli.output import Format
from headrace.cli.rollout import Goal

Pipeline: TypeAlias = Annotated[str, typer.Argument(help="A pipeline's name.", metavar="PIPELINE", show_default=False)]
Names: TypeAlias = Annotated[list[str] | None, typer.Argument(help="Only these.", metavar="NAME", show_default=False)]
Output: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
Files: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--file", "-f", metavar="FILE|DIR|-", help="Pipeline files; all together are one transaction; - is stdin."
    ),
]
Recursive: TypeAlias = Annotated[bool, typer.Option("--recursive", "-R", help="Folders with all that is below them.")]
Name: TypeAlias = Annotated[str, typer.Option("--name", help="Names a bare Fluent Bit file.", metavar="NAME")]
Target: TypeAlias = Annotated[
    str, typer.Option("--selector", help="Which agents a bare Fluent Bit file is for.", metavar="SELECTOR")
]
LabelSelector: TypeAlias = Annotated[
    str, typer.Option("--selector", "-l", help="Only what has these labels.", metavar="SELECTOR")
]
AgentSelector: TypeAlias = Annotated[
    str, typer.Option("--selector", "-l", help="Only on agents with these labels.", metavar="SELECTOR")
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Gone and revoked ones too.")]
Limit: TypeAlias = Annotated[int, typer.Option("--limit", help="The newest N; 0 is all.", metavar="N", min=0)]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why; kept with the revision.", metavar="TEXT")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Check, and say what would change.")]
Confirm: TypeAlias = Annotated[
    int, typer.Option("--confirm", help="How many agents may lose pipelines by this.", metavar="N", min=0)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Accept what is only a warning.")]
Wait: TypeAlias = Annotated[
    bool, typer.Option("--wait", help="Until every connected agent runs it; --wait=good: until it has proved good.")
]
WaitFor: TypeAlias = Annotated[Goal | None, typer.Option("--wait-for", hidden=True)]
Timeout: TypeAlias = Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.", metavar="TIME")]
Watch: TypeAlias = Annotated[bool, typer.Option("--watch", "-w", help="Go on printing what changes, until Ctrl-C.")]
Labels: TypeAlias = Annotated[
    list[str] | None, typer.Option("--label", help="May be repeated.", metavar="KEY=VALUE", show_default=False)
]
State: TypeAlias = Annotated[
    str,
    typer.Option("--state", help="The state store; else SQLite in the data folder.", metavar="URL", show_default=False),
]
Metrics: TypeAlias = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="The metric store: sqlite, influxdb://…, none; else SQLite in the data folder.",
        metavar="URL",
        show_default=False,
    ),
]
SampleInterval: TypeAlias = Annotated[
    str,
    typer.Option("--sample-interval", help="How often agents measure, from 1s to 1h; else every 10s.", metavar="TIME"),
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="HEADRACE_DATA_DIR", help="Where everything is kept.", metavar="DIR"),
]

WAIT_TIMEOUT = "60s"
HTTP_ADDRESS, GRPC_ADDRESS, CHANNEL_ADDRESS = "127.0.0.1:8400", "127.0.0.1:8401", "127.0.0.1:8402"
Http: TypeAlias = Annotated[str, typer.Option("--http", help="HTTP listens here.", metavar="HOST:PORT")]
Grpc: TypeAlias = Annotated[str, typer.Option("--grpc", help="Management listens here.", metavar="HOST:PORT")]
Channel: TypeAlias = Annotated[str, typer.Option("--channel", help="Agents connect here.", metavar="HOST:PORT")]
HttpInsecure: TypeAlias = Annotated[bool, typer.Option("--http-insecure", help="Plain text off loopback there.")]
GrpcInsecure: TypeAlias = Annotated[bool, typer.Option("--grpc-insecure", help="Plain text off loopback there.")]
ChannelInsecure: TypeAlias = Annotated[bool, typer.Option("--channel-insecure", help="Plain text off loopback there.")]


def check_kind(kind: str, *known: str) -> None:
    """A usage error unless the noun, singular or plural, is one that the command takes."""
    if kind not in known and kind.removesuffix("s") not in known:
        raise typer.BadParameter(f"there is no {kind!r} here; write {' or '.join(known)}")


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """`KEY=VALUE` texts as a map; a usage error that names the option."""
    found: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=f"'{option}'")
        found[key] = value
    return found
