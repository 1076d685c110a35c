"""Makes the images of the docs from a real sweep: `python -m tests.support.screenshots` writes docs/images.

The tests of tests/browser take the screenshots; this command runs them, cuts the images and reduces their colours.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "images"


class Shot(NamedTuple):
    """An image of the docs: the screenshot that a browser test takes, and the number of rows to keep from its top."""

    screenshot: str
    height: int


IMAGES = {
    "mlflow-run.png": Shot("sparsefleet-run", 850),
    "mlflow-charts.png": Shot("charts", 720),
    "mlflow-metric.png": Shot("metric", 850),
    "sweep-report.png": Shot("report", 1020),
}
#: enough for text and lines; the files are a third of the size
_NUM_COLOURS = 128


def write_image(screenshot: Path, image: Path, height: int) -> None:
    """Cut a screenshot to its first `height` rows, and write it with few colours."""
    with Image.open(screenshot) as shot:
        cut = shot.convert("RGB").crop((0, 0, shot.width, min(height, shot.height)))
        cut.quantize(_NUM_COLOURS).save(image, optimize=True)


def main() -> None:
    """Run the browser tests, and write the images."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "tests/browser"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "SPARSEFLEET_SCREENSHOTS": folder}, check=True)
        for name, shot in IMAGES.items():
            write_image(Path(folder) / f"{shot.screenshot}.png", FOLDER / name, shot.height)


if __name__ == "__main__":
    main()
