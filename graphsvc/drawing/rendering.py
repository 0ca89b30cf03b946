"""Rendering by Graphviz, where it is installed."""

import shutil
import subprocess
from typing import Final

from graphsvc.errors import DrawingError, quoted

__all__ = ["rendered"]

_SECONDS: Final = 20


def rendered(dot: str, kind: str) -> bytes:
    """Let Graphviz draw a picture.

    Args:
        dot: The picture in its language.
        kind: `png` or `pdf`.

    Raises:
        DrawingError: Graphviz is not installed, refused the picture, or took too long.
    """
    program = shutil.which("dot")
    if program is None:
        msg = f"{kind.upper()} is made by Graphviz, which is not installed. Install it ('apt install graphviz', 'brew"
        msg += " install graphviz'), or save as .svg, which needs nothing."
        raise DrawingError(msg)
    try:
        done = subprocess.run(  # noqa: S603 - no word of it is a stranger's
            [program, f"-T{kind}", "-Gdpi=144"], input=dot.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        msg = f"Graphviz took more than {_SECONDS} seconds. Draw fewer nodes by folding, or save as .svg."
        raise DrawingError(msg) from None
    if done.returncode:
        msg = f"Graphviz failed: {quoted(done.stderr.decode(errors='replace').strip(), 200)}. Save as .svg."
        raise DrawingError(msg)
    return done.stdout
