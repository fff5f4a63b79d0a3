"""What a map of a zoo costs: beside the existing code's cost per pair, and with ten thousand networks.

python benchmarks/atlas.py pairs --networks 300
python benchmarks/atlas.py scale --networks 10000
python benchmarks/atlas.py page docs/atlas-300.html
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from _machine import keep_memory
from torch import Tensor, nn

from mentorch import networks, reports, zoo
from mentorch.transferability import Embeddings, Frame, Store, explain, write_atlas
from mentorch.transferability._atlas._atlas import chart
from mentorch.transferability._atlas._task import Task

PROBES = 100
FAMILIES = (10, 4, 6)  # data sets, architectures, tasks of a synthetic zoo


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {what} | {time.process_time() - start:.1f} | {peak:,.0f} |", flush=True)


def synthetic(store: Store, count: int) -> list[zoo.Entry]:
    """Entries whose embeddings share a part with those of their data set, their architecture and their task."""
    task, entries = Task(store.frame, torch.empty(0)), []
    generator = torch.Generator().manual_seed(0)
    parts = [[torch.randn(n, size, generator=generator) for size in store.frame.sizes] for n in FAMILIES]
    for i in range(count):
        kinds = [int(torch.randint(n, (1,), generator=generator)) for n in FAMILIES]
        rows = [1.5 * torch.randn(size, generator=generator) for size in store.frame.sizes]
        for weight, part, kind in zip((1.0, 0.7, 0.5), parts, kinds, strict=True):
            rows = [row + weight * own[kind] for row, own in zip(rows, part, strict=True)]
        names = [f"{what} {kind}" for what, kind in zip(("data", "net", "task"), kinds, strict=True)]
        card = zoo.Card(f"network {i:05}", names[1], {"num_classes": 10}, names[2], dataset=names[0], hash=f"{i:064x}")
        entries.append(zoo.Entry(card.name, Path(card.name), card))
        store.add(task.key(card), *(row / row.square().mean().sqrt() for row in rows))
    return entries


def scale(count: int, probes: int, width: int, pairs: int, keep: Path | None) -> None:
    """The real store and the real atlas on synthetic embeddings."""
    frame = Frame("synthetic", probes, "synthetic", 8, width, pairs)
    print(f"| {count:,} networks, {probes} probes, {sum(frame.sizes):,} numbers each | CPU s | peak so far, MiB |")
    print("|---|---|---|")
    folder = Path(tempfile.mkdtemp())
    try:
        store = Store(folder / "embeddings", frame)
        with timed("synthetic embeddings into the store"):
            entries = synthetic(store, count)
        size = (folder / "embeddings" / "rows.bin").stat().st_size
        print(f"store: {size / 2**20:,.0f} MiB")
        with timed("open the store again, every row verified"):
            store = Store(folder / "embeddings", frame)
            store.keys()
        with timed("all pairs, 64 neighbours of each at five weights"):
            atlas = chart(store, Task(frame, torch.empty(0)), entries)
        with timed("communities"):
            print(f"{max(atlas.communities()) + 1} communities")
        with timed("five layouts"):
            _ = atlas.layout
        with timed("dendrogram; JSON, GraphML, tensors"):
            write_atlas(atlas, folder)
        print(f"files: {sum(path.stat().st_size for path in folder.glob('*.*')) / 2**20:,.0f} MiB")
        if count <= 5000:
            with timed("page"):
                page = reports.write_atlas_page(folder)
            print(f"page: {page.stat().st_size / 2**20:.1f} MiB")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for path in folder.glob("*.*"):
                shutil.copy(path, keep / path.name)
    finally:
        shutil.rmtree(folder)


def attribution(network: nn.Module, images: Tensor) -> Tensor:
    """As the existing code has it: gradient times input of the norm of the logits, the whole set in one batch."""
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).norm(dim=1).sum(), x)
    return (gradient * x).detach()


def pair(a: Tensor, b: Tensor) -> float:
    """The existing code's distance of two networks: one minus the mean cosine of all channels of all maps."""
    if a.shape != b.shape:
        a = F.interpolate(a, b.shape[2:])
    return float(1 - F.cosine_similarity(a.flatten(1), b.flatten(1)).mean())


def graph_pair(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """Its distance of two attribution graphs: cosines of nodes, and the rank correlation of all entries of edges."""
    nodes = float(F.cosine_similarity(first[0].flatten(1), second[0].flatten(1)).mean())
    ranks = [part[1].tril().flatten().argsort().argsort().double() for part in (first, second)]
    return nodes + float(1 - 6 * (ranks[0] - ranks[1]).square().sum() / (len(ranks[0]) ** 3 - len(ranks[0])))


def edges(maps: Tensor) -> Tensor:
    """Its edges: cosines of all pairs of maps, one Python call each."""
    rows = maps.flatten(1)
    found = torch.zeros(len(rows), len(rows))
    for i in range(len(rows)):
        for j in range(i):
            found[i, j] = F.cosine_similarity(rows[i], rows[j], dim=0)
    return found


def by_pairs(count: int, side: int) -> None:
    """Seconds of CPU that a map of a zoo takes as the existing code does it, and here, at the same probes."""
    keep_memory()
    images = torch.rand(PROBES, 3, side, side, generator=torch.Generator().manual_seed(0))
    nets = [networks.build("cnn_small", num_classes=10).eval() for _ in range(6)]
    seconds = {
        "one attribution, existing": _cost(lambda: attribution(nets[0], images)),
        "one pair of maps, existing": _pair_cost([attribution(net, images) for net in nets]),
    }
    graphs = [(maps := attribution(net, images), edges(maps)) for net in nets[:2]]
    seconds["edges of one network, existing"] = _cost(lambda: edges(graphs[0][0]), 1)
    seconds["one pair of graphs, existing"] = _cost(lambda: graph_pair(*graphs))
    frame = Frame.of(images)
    seconds["one reading, here"] = _cost(lambda: explain(nets[0], images, at="fc:in"))
    reading = explain(nets[0], images, at="fc:in")
    seconds["its embedding, here"] = _cost(lambda: frame.embed(reading))
    seconds["all pairs, here"] = _all_pairs(frame, count)
    for what, value in seconds.items():
        print(f"{what}: {1000 * value:,.2f} ms")
    ordered, ways = count * (count - 1), ("maps", "graphs")
    once = count * seconds["one attribution, existing"]
    existing = [ordered * seconds[f"one pair of {way}, existing"] for way in ways]
    edge_times = [0.0, count * seconds["edges of one network, existing"]]
    here = count * seconds["its embedding, here"] + seconds["all pairs, here"]
    reading_all = count * seconds["one reading, here"]
    print(f"| {count} networks, {PROBES} probes of {side} x {side}, CPU s | existing, maps | existing, graphs | here |")
    print("|---|---|---|---|")
    print(f"| reading the networks | {once:,.0f} | {once + edge_times[1]:,.0f} | {reading_all:,.0f} |")
    print(f"| comparing all pairs | {existing[0]:,.0f} | {existing[1]:,.0f} | {here:,.2f} |")
    cheaper = [(pairs + own) / here for pairs, own in zip(existing, edge_times, strict=True)]
    print(f"| here comparing is cheaper, times | {cheaper[0]:,.0f} | {cheaper[1]:,.0f} | |")
    whole = [(once + own + p) / (reading_all + here) for p, own in zip(existing, edge_times, strict=True)]
    print(f"| here all is cheaper, times | {whole[0]:,.1f} | {whole[1]:,.1f} | |")


def _cost(run: Callable[[], object], repeats: int = 3) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def _pair_cost(maps: list[Tensor]) -> float:
    return _cost(lambda: [pair(a, b) for a in maps for b in maps if a is not b]) / (len(maps) * (len(maps) - 1))


def _all_pairs(frame: Frame, count: int) -> float:
    from mentorch.transferability._atlas._neighbours import neighbours

    nodes, edge = (torch.randn(count, size).half() for size in frame.sizes)
    table = Embeddings(tuple(map(str, range(count))), nodes, edge)
    return _cost(lambda: neighbours(table, torch.arange(count)))


SPEED = """
const best = run => Math.min(...Array.from({length: 15}, () => {
  const start = performance.now();
  run();
  return performance.now() - start;
}));
resize();
const change = best(() => { state.share = Math.random(); refresh(); });
document.title = `${change.toFixed(1)} ms for a step of the slider, ${best(paintAll).toFixed(1)} ms to paint`;
"""


def speed(page: Path) -> None:
    """How long a page takes to answer, in a browser: the quickest of fifteen times."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(page.read_text().replace("new ResizeObserver", SPEED + "new ResizeObserver"))
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,800", "--dump-dom"]
        command = [browser, *flags, f"--user-data-dir={folder}/profile", copy.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    print(f"{page.stat().st_size / 1e6:.2f} MB; {shown.partition('<title>')[2].partition('</title>')[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    paired = kinds.add_parser("pairs")
    paired.add_argument("--networks", type=int, default=300)
    paired.add_argument("--side", type=int, default=224)
    large = kinds.add_parser("scale")
    large.add_argument("--networks", type=int, default=10_000)
    large.add_argument("--probes", type=int, default=128)
    large.add_argument("--width", type=int, default=64)
    large.add_argument("--pairs", type=int, default=8_128)
    large.add_argument("--keep", type=Path, help="keep the map and the page here")
    kinds.add_parser("page").add_argument("page", type=Path)
    asked = parser.parse_args()
    if asked.kind == "page":
        speed(asked.page)
    elif asked.kind == "pairs":
        by_pairs(asked.networks, asked.side)
    else:
        scale(asked.networks, asked.probes, asked.width, asked.pairs, asked.keep)
