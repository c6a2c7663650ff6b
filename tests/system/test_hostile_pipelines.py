"""Pipelines that mean ill: refused before anything is stored, harmless where valid, and contained on agents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from headrace.api import Manifest
from headrace.content import Content, canonical, desired_of
from headrace.errors import HeadraceError
from headrace.testing import FakeControlPlane
from headrace.types import AttemptState, Engine, File, Phase
from tests.processes import Program
from tests.system.plane import Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

CONFIG = "pipeline: {inputs: [{name: dummy, tag: t}], outputs: [{name: 'null', match: '*'}]}"
MIB = 1 << 20
GROWTH = 128 * MIB
"""What all of these together may cost the plane in memory."""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, here in zip("abcdefghij", "bcdefghijk", strict=True)
)


def bad(*files: str, name: str = "bad", selector: str = "*", config: str = CONFIG, content: str = "x") -> Manifest:
    shipped = tuple(File(name=file, content=content.encode()) for file in files)
    return Manifest(name=name, selector=selector, config=config, files=shipped)


HOSTILE = {
    "aliases that multiply": bad(config=BOMB),
    "one hundred thousand layers": bad(config="pipeline: " + "[" * 100_000),
    "a configuration too large": bad(config="#" * (2 * MIB)),
    "sections without end": bad(config="[INPUT]\n  nmae dummy\n" * 30_000),
    "an include of itself": bad("a.yaml", config="includes: [a.yaml]\n", content="includes: [a.yaml]\n"),
    "an include from outside": bad(config="includes: [/etc/passwd, ../../x]\n"),
    "NUL": bad(config=f"# \0\n{CONFIG}"),
    "a name that leaves its folder": bad(name="../bad"),
    "a selector of a megabyte": bad(selector=",".join(f"k{n}=v" for n in range(120_000))),
    "a set of a megabyte": bad(selector=f"k in ({','.join(f'v{n}' for n in range(150_000))})"),
    "a selector that never ends": bad(selector="k in (" * 50_000),
    "ten thousand files": bad(*(f"f{n}" for n in range(10_000))),
    **{
        f"file {name[:20]!r}": bad(name)
        for name in ("../x", "/etc/x", "a/../../x", "", ".", "a\0b", "a\nb", "x" * 5000, "a//b", "a/")
    },
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One plane for all that is refused, which stays as it was and costs little."""
    with Plane(tmp_path_factory.mktemp("hostile") / "plane") as plane:
        plane.apply("edge", CONFIG)
        before = plane.program.memory
        yield plane
        assert plane.program.memory - before < GROWTH
        assert "Traceback" not in plane.program.output


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pipeline_is_refused_before_anything_is_stored(plane: Plane, what: str) -> None:
    before = plane.ask(lambda client: client.get_status()).fleet_revision
    with pytest.raises(HeadraceError) as caught:
        plane.ask(lambda client: client.apply_pipelines([HOSTILE[what]]))
    assert caught.value.code in ("invalid", "limit")
    assert 0 < len(caught.value.message) < 5000
    assert plane.ask(lambda client: client.get_status()).fleet_revision == before


def test_a_hostile_file_is_refused_by_the_command_line(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    document = {"apiVersion": "headrace/v1", "kind": "Pipeline", "metadata": {"name": "bad"}}
    with_file = {"selector": "*", "config": CONFIG, "files": {"x": {"path": "/etc/hostname"}}}
    for text in (
        BOMB,
        "[" * 100_000,
        f"!!python/object/apply:os.system ['touch {tmp_path}/run']",
        "\0",
        yaml.safe_dump(document | {"spec": {"selector": "*", "configFile": "../../../../etc/hostname"}}),
        yaml.safe_dump(document | {"spec": with_file}),
        yaml.safe_dump(document | {"spec": with_file | {"files": {"../x": {"content": "x"}}}}),
    ):
        path.write_text(text)
        said = plane.cli.run("apply", "-f", path)
        assert said.returncode in (1, 2), (text[:40], said)
        assert 0 < len(said.stderr) < 5000, text[:40]
    assert not (tmp_path / "run").exists()


SHADOWS = ("agent/__init__.py", "headrace/__init__.py", "asyncio.py", "yaml.py", "sitecustomize.py", "json/__init__.py")


def test_shipped_files_that_are_named_like_modules_are_never_imported(tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    spy = f"open({str(marker)!r}, 'w').close()\n"
    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", "--settle", "0.1")
        plane.apply("edge", CONFIG, "--wait=good", files=dict.fromkeys(SHADOWS, spy))
        plane.cli("restart", "edge")
        plane.until("edge", Phase.GOOD)
        assert [*agent.data.rglob("sitecustomize.py")]
        assert not marker.exists()


async def test_an_agent_takes_no_ill_from_its_plane(tmp_path: Path) -> None:
    """The other door: names that leave the folder, contents that are none, payloads that unfold, hashes that differ."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "token").write_text("token")
    good = Content(engine=Engine.AUTO, config=CONFIG)
    text = canonical(good).decode()
    names = ("../evil", f"{tmp_path}/evil", "a/../../../evil", "evil\\u0000", "")
    contents = {f"file-{n}": text.replace('"files":{}', f'"files":{{"{name}":"eA=="}}') for n, name in enumerate(names)}
    contents |= {"empty": "{}", "layers": "[" * 100_000, "null": "null", "other": text.replace("auto", "perl")}
    large = desired_of("large", 1, b"0" * MIB)
    payloads = {
        "bomb": replace(large, pipeline="bomb"),
        "huge": replace(large, pipeline="huge", size=1 << 40),
        "noise": replace(large, pipeline="noise", payload=b"\xff" * 100),
        "hash": replace(desired_of("hash", 1, canonical(good)), sha256="ab" * 32),
    }
    async with FakeControlPlane() as plane:
        flags = ["--token-file", str(folder / "token"), "--data-dir", str(folder / "data"), "--engine", "embedded"]
        command = [sys.executable, "-P", "-m", "agent", "run", "--server", plane.address, "--settle", "0.1", *flags]
        with Program(command, folder=folder, name="agent", env={"HOME": str(folder)}) as agent:
            plane.desire("good", good)
            await plane.until(lambda seen: "good" in seen and seen["good"].good == 1, timeout=40)
            running, before = plane.observed()["good"].running, agent.memory
            for name, document in contents.items():
                plane.send(desired_of(name, 1, document.encode()))
            for desired in payloads.values():
                plane.send(desired)
            for name in ("../evil", "", "UPPER", "a" * 100):
                plane.send(desired_of(name, 1, canonical(good)))
            ill = {*contents, *payloads}
            await plane.until(lambda seen: ill <= seen.keys(), timeout=40)
            plane.desire("last", good)
            seen = await plane.until(lambda seen: "last" in seen and seen["last"].good > 0, timeout=40)
            for name in ill:
                attempt = seen[name].attempt
                assert attempt is not None, name
                assert attempt.state is AttemptState.FAILED, name
                assert attempt.faults[0].message, name
                assert seen[name].running is None, name
            assert seen["good"].running == running
            assert len(plane.sessions) == 1
            assert agent.memory - before < GROWTH
            assert "Traceback" not in agent.output
    assert not [*tmp_path.rglob("*evil*")]
