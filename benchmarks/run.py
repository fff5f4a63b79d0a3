"""All benchmarks, one after the other, and their tables.

    python benchmarks/run.py                        # as docs/benchmarks.md has them: an hour and more
    python benchmarks/run.py --write --only crd     # ... and put the tables in their places there
    python benchmarks/run.py --short                # seconds each: that they run, the numbers mean nothing

Each benchmark is a script that can be run alone; its docstring says what is compared with what. A table's place, in
docs/benchmarks.md or another page there, is between ``<!-- NAME -->`` and ``<!-- /NAME -->``; what stands around it,
the commands too, is written by people. One without a place is only printed.
Checkouts of peers are named by the environment: ``MDISTILLER``, ``REPDISTILLER``, ``KTG``, ``LOGME``, ``TLL`` and
``KAMAL``; with ``PEERS_PYTHON`` an interpreter that has torchdistill, numba and captum, for instance
``.venv-peers/bin/python``. Whoever is absent is left out and named.
"""

import argparse
import itertools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from _machine import KEEP_MEMORY

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


@dataclass(frozen=True)
class Benchmark:
    """A script's calls: in full, one table of all their rows; and a short one."""

    script: str
    full: tuple[str, ...]
    short: str


EAGER = (
    "torchdistill mdistiller RepDistiller 'loop by hand' '`fit`' '`fit`, channels-last' "
    "'`fit`, channels-last, teacher in bf16' '`fit`, cached' '`fit`, channels-last, cached'"
)
COMPILED = "compile channels-last+compile channels-last+compile+bf16"
ALL = {
    "step": Benchmark(
        "step.py",
        ("--repeats 11 --steps 120 --pairs tiny", "--repeats 7 --steps 20 --pairs cifar cifar-large"),
        "--repeats 1 --steps 2 --pairs tiny",
    ),
    "cache": Benchmark(
        "cache.py",
        ("--pairs resnet56 --repeats 9 --steps 8", "--pairs resnet32x4 resnet50 --repeats 5 --steps 4"),
        "--pairs resnet56 --steps 1 --repeats 1 --batch-size 8",
    ),
    "peers": Benchmark(
        "peers.py",
        (
            "--pairs resnet56 --steps 4 --repeats 3",
            "--pairs resnet32x4 --steps 2 --repeats 2",
            "--pairs resnet56 --steps 4 --repeats 5 --threads 2",
        ),
        f"--pairs resnet56 --steps 1 --repeats 1 --batch-size 8 --loops {EAGER}",
    ),
    "peers-graph": Benchmark("peers_graph.py", ("--repeats 3",), "--networks tiny --steps 2 --repeats 1"),
    "peers-scores": Benchmark(
        "peers_scores.py", ("", "--few"), "--samples 300 --dimensions 32 --classes 5 --repeats 1"
    ),
    "peers-losses": Benchmark("peers_losses.py", ("--repeats 7",), "--batch-size 4 --repeats 1 --losses kd pkt"),
    "peers-data": Benchmark("peers_data.py", ("",), "--images 200 --repeats 1"),
    "peers-kamal": Benchmark("peers_kamal.py", ("--repeats 3",), "--networks small --steps 1 --repeats 1 --zoo 3"),
    "limit": Benchmark("limit.py", ("",), "--pairs resnet56 --batch-size 2 --repeats 1 --no-compile"),
    "crd": Benchmark("crd.py", ("--repeats 9",), "--samples 2000 --negatives 500 --repeats 1"),
    "graph": Benchmark(
        "graph.py",
        (
            "--networks tiny --steps 40 --repeats 7",
            "--networks small --steps 12 --repeats 3",
            "--networks resnet8 --steps 5 --repeats 2",
        ),
        "--networks tiny --steps 2 --repeats 1",
    ),
    "graph-fast": Benchmark(
        "graph.py",
        ("--fast --networks small --steps 12 --repeats 3", "--fast --networks resnet8 --steps 5 --repeats 2"),
        "--fast --networks tiny --steps 2 --repeats 1",
    ),
    "features": Benchmark(
        "features.py", ("--steps 8 --repeats 4",), "--steps 1 --repeats 1 --methods kd --teachers 2 --batch-size 8"
    ),
    "device": Benchmark(
        "device.py",
        ("--pairs resnet56 --batch-sizes 64 --steps 4 --loops hand hand+fast fit fit+fast fit+fast+cache",),
        "--pairs tiny --batch-sizes 8 --steps 2 --repeats 1 --loops hand fit",
    ),
    "fast": Benchmark(
        "fast.py",
        (
            "--networks small --steps 8 --repeats 3",
            f"--networks small --steps 8 --repeats 3 --options plain {COMPILED}",
            "--networks resnet8 --steps 4 --repeats 2",
            "--networks tiny --steps 40 --repeats 3",
        ),
        "--networks tiny --steps 2 --repeats 1 --options plain channels-last",
    ),
    "together": Benchmark(
        "together.py", ("--pairs cifar tiny --steps 3 --repeats 2",), "--pairs tiny --steps 2 --repeats 1"
    ),
    "batched": Benchmark("batched.py", ("--repeats 5",), "--repeats 1 --batch-size 2"),
    "logme": Benchmark("logme.py", ("",), "--samples 2000 --dimensions 256"),
    "atlas": Benchmark("atlas.py", ("pairs", "scale"), "scale --networks 50 --probes 16 --width 8 --pairs 20"),
    "processes": Benchmark("processes.py", ("",), "--pairs tiny --steps 2 --repeats 1"),
    "start": Benchmark("start.py", ("",), "--repeats 1"),
    "search": Benchmark("search.py", ("--repeats 4 --trials 20 --epochs 8",), "--repeats 1 --trials 2 --epochs 1"),
}


def interpreter(benchmark: Benchmark) -> str:
    return os.environ.get("PEERS_PYTHON", sys.executable) if benchmark.script[:5] == "peers" else sys.executable


def about(benchmark: Benchmark) -> str:
    """The machine, with the versions that the benchmark runs with."""
    command = [interpreter(benchmark), str(HERE / "_machine.py")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def carry_out(benchmark: Benchmark, arguments: str) -> str:
    """What a call prints.

    Raises:
        SystemExit: if it fails.
    """
    command = [interpreter(benchmark), str(HERE / benchmark.script), *shlex.split(arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}  # each says what it wants
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=kept)
    if done.returncode:
        raise SystemExit(f"benchmarks/{benchmark.script} {arguments} failed")
    return done.stdout


def table(printed: list[str]) -> str:
    """The rows that several calls printed, those under one head together; empty if they print none."""
    tables: dict[str, list[str]] = {}
    for text in printed:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        for line, after in itertools.zip_longest(lines, lines[1:], fillvalue=""):
            if after.startswith("|---"):
                rows = tables.setdefault(f"{line}\n{after}", [])
            elif not line.startswith("|---"):
                rows.append(line)
    return "\n\n".join("\n".join([head, *rows]) for head, rows in tables.items())


def put(page: str, name: str, text: str) -> str:
    """The page with a text in its place; as it was if there is none."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(ALL), choices=list(ALL), metavar="NAME")
    options = parser.parse_args()
    if options.short and options.write:
        parser.error("--short measures nothing worth writing")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
    for name in options.only:
        benchmark = ALL[name]
        calls = (benchmark.short,) if options.short else benchmark.full
        print(f"\n== {name}: {about(benchmark)}", flush=True)
        printed = [carry_out(benchmark, arguments) for arguments in calls]
        rows = table(printed)
        print(rows or "\n".join(printed), flush=True)
        for page in sorted(DOCS.glob("*.md")) if options.write and rows else ():
            page.write_text(put(page.read_text(), name, f"{rows}\n\n*{about(benchmark)}.*"))


if __name__ == "__main__":
    main()
