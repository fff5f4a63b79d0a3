"""The example rebuilds the published ground truth and its baselines from public affinities."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MENTORCH_SHARED_DATA", "")) / "taskonomy"
SCRIPT = Path(__file__).parents[2] / "examples" / "taskonomy.py"


@pytest.mark.skipif(not (DATA / "affinities_16k.csv").is_file(), reason="no taskonomy in $MENTORCH_SHARED_DATA")
def test_the_ground_truth_and_every_baseline(tmp_path: Path):
    figure = tmp_path / "curves.svg"
    command = [sys.executable, SCRIPT, "--data", DATA, "--figure", figure]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "18 of 18 rows equal" in text
    hits = {cells[1].strip(): float(cells[7]) for cells in (line.split("|") for line in text.splitlines()[4:])}
    assert hits == {
        "oracle": 90,
        "1,000 images": 79,
        "symmetric oracle": 76.5,
        "label prior": 59.9,
        "popular sources": 49,
        "DEPARA, published": 68,
        "RSA, published": 66,
        "attribution maps, published": 60,
        "random": 23.7,
    }
    assert "P@k" in figure.read_text(encoding="utf-8")
