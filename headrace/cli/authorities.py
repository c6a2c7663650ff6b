"""`ca show`, `export`, `rotate`: the authorities of agents' certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.exits import say
from headrace.cli.output import Column, Format, plain, show_lines, show_list, when
from headrace.cli.target import talk
from headrace.errors import InvalidError

if TYPE_CHECKING:
    from headrace.api import CertificateAuthority
    from headrace.management import ManagementClient

group = typer.Typer(name="ca", help="The authorities of agents' certificates.", no_args_is_help=True)

_COLUMNS: Sequence[Column[CertificateAuthority]] = (
    Column("FINGERPRINT", lambda a: a.fingerprint),
    Column("SIGNS", lambda a: "yes" if a.signs else "no"),
    Column("VALID UNTIL", lambda a: when(a.valid_until)),
    Column("AGENTS", lambda a: str(a.agents)),
    Column("CONNECTED", lambda a: str(a.connected)),
    Column("LAST EXPIRES", lambda a: when(a.last_expires_at)),
    Column("KEY", lambda a: "here" if a.has_key else "not here"),
    Column("SUBJECT", lambda a: a.subject),
)


@group.command()
def show(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Who signs agents' certificates, who is trusted besides, and how many agents have one by each."""
    authorities = talk(context, lambda client: client.list_authorities())
    show_list(authorities, columns=_COLUMNS, document=plain, format=output, none="no authority")


@group.command()
def export(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to a file.", metavar="FILE")] = None,
) -> None:
    """Print the certificates of all that are trusted, in PEM, for ingresses that let agents in."""
    authorities = talk(context, lambda client: client.list_authorities())
    bundle = b"".join(authority.certificate for authority in authorities)
    if out is None:
        typer.echo(bundle.decode(), nl=False)
        return
    try:
        out.write_bytes(bundle)
    except OSError as error:
        raise InvalidError(f"{out} cannot be written: {error.strerror}") from error
    say(f"{len(authorities)} in {out}")


@group.command()
def rotate(
    context: typer.Context,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the trust in those before the one that signs, now.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --finish: also while connected agents have no newer certificate.")
    ] = False,
) -> None:
    """Have another authority sign; agents get certificates by it on the connections that they have."""
    if force and not finish:
        raise typer.BadParameter("--force goes with --finish")

    async def action(client: ManagementClient) -> None:
        if finish:
            ended = await client.finish_rotation(force=force)
            show_lines([f"ca/{authority.fingerprint} ended" for authority in ended])
            return
        made = await client.rotate_authority()
        show_lines([f"ca/{made.fingerprint} signs"])
        say("the one before it is trusted until no good certificate by it is left; see: headrace ca show")

    talk(context, action)
