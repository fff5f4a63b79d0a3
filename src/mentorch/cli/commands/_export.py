"""``mentorch export``."""

from pathlib import Path
from typing import Annotated

import typer

from mentorch.cli._options import new_app

app = new_app()


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A folder with a card, or a run folder that keeps one network.")],
    target: Annotated[Path, typer.Argument(help="FILE.onnx, FILE.pt2, FILE.safetensors, or a folder.")],
    *,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="The program takes images in [0, 1], and normalises them itself.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Import the package that the card names as PACKAGE.MODULE:CALLABLE.")
    ] = False,
) -> None:
    """Write a network for where mentorch is not, and compare what was written with it.

    The name of the target says what it becomes: a program of ONNX or torch.export that takes any number of images,
    its weights alone, or a folder with its card. Every file carries the card, too.

    mentorch export runs/first/nodes/kd-seed-0 student.onnx --prepare
    """
    from mentorch.cli import _export

    _export.run(source, target, prepare=prepare, trust=trust)
