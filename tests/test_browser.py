"""The report in a real browser: it renders, loads nothing from elsewhere and fits a phone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from eval_models.report import write_report
from tests.conftest import module_from

pytestmark = pytest.mark.browser
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)


def chromium(*arguments: str, profile: Path) -> subprocess.CompletedProcess[str]:
    assert _CHROMIUM is not None
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={profile}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if _CHROMIUM is None:
        pytest.skip("no Chromium on PATH")
    root = tmp_path_factory.mktemp("study")
    plan = module_from(Path(__file__).parent / "eval_models/study_fixture.py").build_study(root)
    write_report(root, plan)
    return root / "report.html"


def test_the_page_renders_with_its_table_and_figures(report: Path, tmp_path: Path) -> None:
    done = chromium("--dump-dom", report.as_uri(), profile=tmp_path / "profile")
    assert done.returncode == 0
    assert "Verdicts against" in done.stdout and done.stdout.count("<svg") >= 3


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(report: Path, tmp_path: Path, width: int) -> None:
    """A page in a frame of that width says how wide its content became."""
    probe = tmp_path / "probe.html"
    probe.write_text(
        f"<iframe id=f width={width} height=900 style='border:0' srcdoc=\"\"></iframe><script>"
        f"f.onload = () => {{ document.title = 'width ' + f.contentDocument.documentElement.scrollWidth }};"
        f"f.srcdoc = {_js_string(report.read_text(encoding='utf-8'))}</script>"
    )
    done = chromium("--dump-dom", "--virtual-time-budget=4000", probe.as_uri(), profile=tmp_path / "profile")
    title = done.stdout.partition("<title>width ")[2].partition("</title>")[0]
    assert title and int(title) <= width, f"content of {title} px in a window of {width} px"


def _js_string(text: str) -> str:
    import json

    return json.dumps(text).replace("</", "<\\/")


def test_a_screenshot_is_not_blank(report: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    chromium(f"--screenshot={shot}", "--window-size=1200,1600", report.as_uri(), profile=tmp_path / "profile")
    assert shot.stat().st_size > 30_000, "a blank page of this size has a few kB"
