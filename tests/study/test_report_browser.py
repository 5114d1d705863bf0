"""The report in a real browser: it opens offline, in both colour schemes, wide and on a phone."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from study_files import KITCHEN, study

from crossplay.study.report import write_report
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    text = KITCHEN.replace("[environments.kitchen.options]", "[environments.kitchen.options]\nhorizon = 80")
    run_study(Stage(study(text)), folder / "run")
    return write_report(folder / "run", None)


def browse(page, tmp_path, *words):
    assert BROWSER, "the second ring needs a browser: sudo apt-get install chromium"
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *words, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.full
def test_the_page_as_the_browser_understands_it(page, tmp_path):
    done = browse(page, tmp_path, "--dump-dom", "--enable-logging=stderr", "--v=0")
    assert "script+errands" in done.stdout and "<svg" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr  # errors of the page, blocked resources among them


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_in_both_schemes(page, tmp_path, width, dark):
    shot = tmp_path / "shot.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    browse(page, tmp_path, f"--screenshot={shot}", f"--window-size={width},1600", *scheme)
    pixels = np.asarray(Image.open(shot).convert("L"), float)
    ground = np.median(pixels)
    assert (ground < 80) == dark, ground
    assert 0.005 < (abs(pixels - ground) > 60).mean() < 0.5  # something is written, and it can be read
