"""The ``mentorch`` command."""

from mentorch.cli._app import main as main
