"""The list of methods below ``--help``."""

from typing import Any

import typer.core


class WithMethods(typer.core.TyperCommand):
    """A command on a teacher, a student and data, whose help ends with the methods."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name."""
        return ["[TEACHER [STUDENT [DATA]]]", *super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The methods, each in a line with its paper."""
        from mentorch.cli._methods_page import method_lines

        with formatter.section("Methods ('mentorch methods NAME' shows the options of one)"):
            formatter.write_dl([(name, f"{summary} ({paper})") for name, summary, paper in method_lines()])
