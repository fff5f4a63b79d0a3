"""``python -m mentorch``."""

from mentorch.cli import main

main()
