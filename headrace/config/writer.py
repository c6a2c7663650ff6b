"""Document to text, in either format."""

from headrace.config.classic_writer import write_classic
from headrace.config.model import Document, Format
from headrace.config.yaml_writer import write_yaml


def render(document: Document, *, format: Format | None = None) -> str:
    """The document as one text without includes, in its own format or in another.

    Parsing the text gives an equal document. Raises ConfigError with everything that the format cannot hold.
    """
    return write_classic(document) if (format or document.format) == "classic" else write_yaml(document)
