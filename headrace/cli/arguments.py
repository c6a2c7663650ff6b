"""What people write on the command line and the parser does not take as it stands, brought into its form. Pure.

- `--wait` is a flag and may carry a value, `--wait=good`, which the parser knows as `--wait-for good`;
- the global options may stand anywhere (`headrace get agents --server HOST:PORT`), the parser wants them first; after
  `cluster`, `--server` is that of its agents.
"""

from collections.abc import Sequence

GLOBAL_FLAGS = frozenset({"--debug", "--insecure"})
GLOBAL_VALUES = frozenset(
    {"--server", "--token", "--tls-ca", "--tls-client-cert", "--tls-client-key", "--cert", "--key"}
)


def normalise(argv: Sequence[str]) -> list[str]:
    """The arguments as the parser takes them; after `--` nothing is touched."""
    end = argv.index("--") if "--" in argv else len(argv)
    first: list[str] = []
    rest: list[str] = []
    words = iter(argv[:end])
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--server" and rest[:1] == ["cluster"]:
            rest.append(word)
        elif word in GLOBAL_FLAGS or (equals and option in GLOBAL_VALUES):
            first.append(word)
        elif word in GLOBAL_VALUES:
            first.append(word)
            first.extend([value] if (value := next(words, "")) else [])
        elif equals and option == "--wait":
            rest.append(f"--wait-for={value}")
        else:
            rest.append(word)
    return [*first, *rest, *argv[end:]]
