"""`sum((x - 1)**2)` served by Tesseract's own server."""

import os
import sys
import tempfile
from pathlib import Path

environment = {
    **os.environ,
    "TESSERACT_API_PATH": str(Path(__file__).with_name("tesseract_api.py")),
    "TESSERACT_OUTPUT_PATH": tempfile.mkdtemp(),
}
program = str(Path(sys.executable).with_name("tesseract-runtime"))
os.execve(program, [program, "serve", "--host", "127.0.0.1", "--port", sys.argv[1]], environment)  # noqa: S606
