"""``mentorch methods``."""

from typing import Annotated

import typer

from mentorch.cli._options import new_app

app = new_app()


@app.command()
def methods(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One of them, with all its options.")] = None,
) -> None:
    """Losses that methods are made of, with the papers they are from."""
    from mentorch.cli import _methods_page

    if name is None:
        _methods_page.show_methods()
    else:
        _methods_page.show_method(name, context.make_formatter())
