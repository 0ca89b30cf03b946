"""Drawing: what `graph.draw` returns, to be shown in a notebook, printed, or written to a file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from graphsvc.drawing.dot import dot_of
from graphsvc.drawing.picture import Picture
from graphsvc.drawing.rendering import rendered
from graphsvc.drawing.svg import svg_of
from graphsvc.errors import DrawingError, quoted

__all__ = ["FORMATS", "Drawing"]

FORMATS: Final = ("svg", "png", "pdf", "dot")
"""What a drawing can be written as, by the ends of names of files."""


@dataclass(frozen=True, repr=False)
class Drawing:
    """A drawn graph. In a notebook it shows itself.

    Attributes:
        picture: What is drawn, as plain data.
    """

    picture: Picture

    @cached_property
    def svg(self) -> str:
        """The picture as SVG, in light or dark colours as its reader has set."""
        return svg_of(self.picture)

    @cached_property
    def dot(self) -> str:
        """The picture in Graphviz's language."""
        return dot_of(self.picture)

    def __repr__(self) -> str:
        return f"<Drawing: {len(self.picture.nodes)} nodes, {len(self.picture.edges)} edges>"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture to a file: SVG, PNG, PDF or DOT, as the end of its name says.

        Raises:
            DrawingError: The name has another end; or PNG or PDF is wanted, and Graphviz is missing or failed.
            OSError: The file cannot be written.
        """
        path = Path(path)
        kind = path.suffix[1:].lower()
        if kind not in FORMATS:
            msg = f"{quoted(path.name)} says no format. End its name in {', '.join(f'.{end}' for end in FORMATS)}."
            raise DrawingError(msg)
        if kind in ("svg", "dot"):
            path.write_text(self.svg if kind == "svg" else self.dot, encoding="utf-8")
        else:
            path.write_bytes(rendered(self.dot, kind))
