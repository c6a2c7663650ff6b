"""Tags made of file names."""

import pytest

from agent.engine.inputs.tail.tags import expand_tag, tag_maker
from agent.engine.regex import compile_regex


@pytest.mark.parametrize(
    ("tag", "path", "result"),
    [
        ("k.*", "logs/one.log", "k.logs.one.log"),
        ("k.*", "/var/log/one.log", "k.var.log.one.log"),
        ("*", "/var/log/a.log", "var.log.a.log"),
        ("a.*.b", "x/y", "a.x.y.b"),
        ("*.b", "c:\\d", "c.d.b"),
        ("k.*", "a//b", "k.a.b"),
        ("k.*", "dir/", "k.dir"),
        ("plain", "/x", "plain"),
        ("k.*", "a*b", "k.ab"),
    ],
)
def test_a_star_becomes_the_path_with_dots(tag: str, path: str, result: str) -> None:
    assert expand_tag(tag, path) == result


def test_groups_of_the_file_name_fill_places() -> None:
    make = tag_maker("app.<name>.<gone>", compile_regex(r"/(?<name>[^/]+)\.log$"))
    assert make("/var/web.log") == "app.web._"
    assert make("/var/web.txt") is None
