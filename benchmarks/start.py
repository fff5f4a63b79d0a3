"""How long a program takes to start: torch, mentorch, and its command line.

    python benchmarks/start.py                # prints a table
    python benchmarks/start.py --repeats 1    # a short form

Each in a process of its own, with one thread, after a first one that is not counted: CPU seconds and seconds on the
clock, the median of the rounds, which take turns; and the median (lowest ... highest) of the CPU seconds over those of
``import torch`` in the same round.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from _machine import machine
from _steps import spread

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import mentorch": ["-c", "import mentorch"],
    "from mentorch import *": ["-c", "from mentorch import *"],
    "mentorch --help": ["-m", "mentorch", "--help"],
    "mentorch compare --help": ["-m", "mentorch", "compare", "--help"],
    "mentorch methods": ["-m", "mentorch", "methods"],
}


def start(words: list[str]) -> tuple[float, float]:
    """CPU seconds and seconds of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    for words in COMMANDS.values():
        start(words)
    rounds = [{name: start(words) for name, words in COMMANDS.items()} for _ in range(asked.repeats)]
    print(f"{machine()}\n")
    print("| | CPU s | s | CPU, times that of `import torch` (min ... max) |\n|---|---|---|---|")
    torch = [each["import torch"][0] for each in rounds]
    for name in COMMANDS:
        cpu, clock = zip(*(each[name] for each in rounds), strict=True)
        cells = (f"`{name}`", f"{statistics.median(cpu):.2f}", f"{statistics.median(clock):.2f}", spread(cpu, torch))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
