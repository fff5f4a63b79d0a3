"""The map as files: JSON, GraphML, Parquet, and the tensors that the page is drawn from."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mentorch._errors import UsageError
from mentorch._files import write_atomic, write_json
from mentorch.transferability._atlas._atlas import Atlas
from mentorch.transferability._atlas._facts import Plain, facts, failed, links
from mentorch.transferability._atlas._neighbours import share

SCHEMA = "mentorch.atlas/1"


def write_atlas(
    atlas: Atlas,
    folder: Path | str,
    *,
    k: int = 5,
    weight: float = 1.0,
    parquet: bool = False,
    made: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``atlas.json``, ``atlas.graphml`` and ``map.safetensors`` into a folder; with ``parquet`` two tables more.

    The JSON holds networks, the k links of each, communities, the tree, the frame, and what failed; GraphML the same
    graph for other programs; ``map.safetensors`` the neighbours that matter at any weight (``index``, ``nodes``,
    ``edges``, ``[M, K]``) and the positions at several shares of the edges (``layout``, ``[S, M, 2]``, ``shares``,
    ``[S]``); ``networks.parquet`` and ``links.parquet`` what their names say.

    Args:
        atlas: the map.
        folder: made if it is not there.
        k: links of each network.
        weight: of the edges of attribution graphs.
        parquet: also as tables; needs pyarrow.
        made: what else to record, such as how the probes were chosen.

    Returns:
        The path of ``atlas.json``.

    Raises:
        UsageError: if ``parquet`` is asked for and pyarrow is not installed.
        RunError: if the folder cannot be written.
    """
    folder = Path(folder)
    if parquet:
        check_parquet()
    record = _record(atlas, k, weight, made or {})
    _write_tensors(atlas, folder / "map.safetensors")
    _write_graphml(record, folder / "atlas.graphml")
    if parquet:
        for name in ("networks", "links"):
            _write_parquet(record[name], folder / f"{name}.parquet")
    write_json(folder / "atlas.json", record)
    return folder / "atlas.json"


def check_parquet() -> None:
    """Raise unless Parquet can be written.

    Raises:
        UsageError: naming what to install.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("Parquet needs the package pyarrow: pip install 'mentorch[parquet]'")


def _record(atlas: Atlas, k: int, weight: float, made: Mapping[str, Any]) -> dict[str, Any]:
    near, grown = atlas.near.nearest(k, weight=weight), atlas.tree(weight=weight)
    place = atlas.layout[min(atlas.layout, key=lambda at: abs(at - share(weight)))].tolist()
    found = zip(atlas.entries, atlas.communities(k=k, weight=weight), place, atlas.blank, strict=True)
    return {
        "schema": SCHEMA,
        "k": k,
        "weight": weight,
        "frame": dict(vars(atlas.frame)),
        "made": dict(made),
        "networks": [
            facts(entry) | {"community": group, "x": round(x, 4), "y": round(y, 4), "blank": blank}
            for entry, group, (x, y), blank in found
        ],
        "links": links(near, weight),
        "failures": failed(atlas.failures),
        "tree": {
            "merges": [[int(a), int(b), round(height, 5), int(size)] for a, b, height, size in grown.merges.tolist()],
            "order": grown.order,
        },
    }


def _write_tensors(atlas: Atlas, path: Path) -> None:
    from safetensors.torch import save_file

    near, maps = atlas.near, atlas.layout
    tensors = {
        "index": near.index.int(),
        "nodes": near.nodes,
        "edges": near.edges,
        "layout": torch.stack(list(maps.values())).float(),
        "shares": torch.tensor(list(maps)),
    }
    write_atomic(path, lambda temporary: save_file(tensors, temporary))


def _write_graphml(record: dict[str, Any], path: Path) -> None:
    import networkx

    graph = networkx.DiGraph(schema=SCHEMA, k=record["k"], weight=float(record["weight"]))
    for i, network in enumerate(record["networks"]):
        graph.add_node(i, **network)
    for link in record["links"]:
        graph.add_edge(link["source"], link["target"], **{n: link[n] for n in ("similarity", "nodes", "edges")})
    write_atomic(path, lambda temporary: networkx.write_graphml(graph, temporary))


def _write_parquet(rows: list[Plain], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    names = dict.fromkeys(name for row in rows for name in row)
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    write_atomic(path, lambda temporary: parquet.write_table(table, temporary))
