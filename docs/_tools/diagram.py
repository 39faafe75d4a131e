"""Diagrams drawn from the code: who imports whom, and what one pass through a system holds.

Each is an SVG that is set into a page, takes the colours of its theme, and links to the reference.
"""

import ast
import itertools
from dataclasses import fields
from pathlib import Path

import reference

ROOT = Path(__file__).parents[2]
ROOMS = (
    "optics", "optics/light", "optics/wave", "optics/sensor", "optics/pupil", "optics/lens_data",
    "optics/imaging", "optics/rays", "optics/fabrication", "optics/performance",
    "compress", "classify", "joint", "joint/judge", "joint/saved", "joint/train",
    "joint/picture", "joint/config", "joint/run", "joint/deploy", "joint/panel",
    "joint/analysis", "joint/analysis/contrast", "joint/analysis/information",
    "joint/analysis/tolerancing", "joint/figure", "joint/study", "joint/study/findings",
    "joint/study/page", "joint/report", "joint/command", "joint/command/study",
)  # fmt: skip


def write(folder: Path) -> None:
    """Write all diagrams."""
    folder.mkdir(parents=True, exist_ok=True)
    linked = {page.module for package in reference.PACKAGES for page in reference.pages(package)}
    for room in ROOMS:
        name = room.replace("/", ".")
        (folder / f"{name}.svg").write_text(_layers(name, imports(ROOT / room), linked))
    (folder / "planes.svg").write_text(_planes())


def imports(folder: Path) -> dict[str, set[str]]:
    """The files of a folder (a folder in it counts as one), each with those that it imports.

    A folder whose ``__init__`` is public, as ``joint.study``, is drawn for itself alone.
    """
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    inner = {path.parent.name for path in folder.glob("*/__init__.py")}
    files |= {n for n in inner if f"{folder.name}.{n}" not in reference.PACKAGES}
    found = {}
    for name in files:
        inside = sorted((folder / name).rglob("*.py")) or [folder / f"{name}.py"]
        found[name] = {
            module for path in inside for module in _imported(path, folder) if module in files
        } - {name}
    return found


def _imported(path: Path, folder: Path) -> set[str]:
    """First names, in ``folder``, of what a file imports from there."""
    depth = len(path.relative_to(folder).parts)
    package = ".".join(folder.relative_to(ROOT).parts)
    names = set()
    for node in ast.parse(path.read_text()).body:  # not what a function imports when it runs
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level == depth:
            parts = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            names.update(parts)
        elif not node.level and (node.module or "").startswith(f"{package}."):
            names.add(str(node.module).removeprefix(f"{package}.").split(".")[0])
    return names


def _layers(package: str, graph: dict[str, set[str]], linked: set[str]) -> str:
    """Files in columns, each to the right of all that it imports; indirect imports left out."""
    level = _levels(graph)
    direct = _reduced(graph)
    columns = [sorted(n for n in graph if level[n] == c) for c in range(max(level.values()) + 1)]
    # A file stands near what it imports: a few sweeps of the barycentre rule.
    place = {n: i - len(column) / 2 for column in columns for i, n in enumerate(column)}
    users = {n: {m for m in graph if n in direct[m]} for n in graph}
    for sweep in range(8):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            near = direct if sweep % 2 == 0 else users
            weight = {
                n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n]
                for n in column
            }
            column.sort(key=weight.__getitem__)
            place.update({n: i - (len(column) - 1) / 2 for i, n in enumerate(column)})
    wide, high, gap, pitch = 104, 22, 46, 32
    tall = max(map(len, columns)) * pitch
    x = {n: level[n] * (wide + gap) + 1 for n in graph}
    y = {n: tall / 2 + place[n] * pitch - high / 2 + 4 for n in graph}
    width, height = len(columns) * (wide + gap) - gap + 2, tall + 8
    lines = [
        f'<path d="M{x[b] + wide},{y[b] + high / 2:.0f} C{x[b] + wide + gap / 2},'
        f"{y[b] + high / 2:.0f} {x[a] - gap / 2},{y[a] + high / 2:.0f} {x[a]},"
        f'{y[a] + high / 2:.0f}"/>'
        for a in sorted(graph)
        for b in sorted(direct[a])
    ]
    boxes = []
    for name in sorted(graph):
        box = (
            f'<rect x="{x[name]}" y="{y[name]:.0f}" width="{wide}" height="{high}" rx="5"/>'
            f'<text x="{x[name] + wide / 2}" y="{y[name] + 15:.0f}">{name}</text>'
        )
        page = f"{package}.{name}"
        if page in linked:
            box = f'<a href="../reference/{page}.html">{box}</a>'
        elif any(one.startswith(page + ".") for one in linked):
            box = f'<a href="../reference/{package}.html">{box}</a>'
        boxes.append(box)
    return _svg(width, height, ["<g class='edges'>", *lines, "</g>", *boxes], package)


def _levels(graph: dict[str, set[str]]) -> dict[str, int]:
    level: dict[str, int] = {}

    def of(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"files import each other in a circle: {' -> '.join((*above, name))}")
        if name not in level:
            level[name] = 1 + max((of(m, (*above, name)) for m in graph[name]), default=-1)
        return level[name]

    for name in graph:
        of(name, ())
    return level


def _reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the imports that follow from others."""
    reach: dict[str, set[str]] = {}

    def of(name: str) -> set[str]:
        if name not in reach:
            reach[name] = graph[name].union(*(of(m) for m in graph[name]))
        return reach[name]

    return {n: {m for m in graph[n] if not any(m in of(k) for k in graph[n] - {m})} for n in graph}


def _planes() -> str:
    """One pass through a whole system: its stages, and every plane with its shape."""
    import torch  # noqa: PLC0415

    import classify  # noqa: PLC0415
    import compress  # noqa: PLC0415
    import joint  # noqa: PLC0415
    import optics  # noqa: PLC0415

    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("unsharp", 7),
        sensor=optics.Sensor(2000),
        codec=compress.FactorizedCodec(),
        classifier=classify.backbone("resnet_s", classes=7),
    ).eval()
    with torch.no_grad():
        output = system(torch.rand(8, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    shapes = {f.name: getattr(output, f.name) for f in fields(output)}
    shapes["reconstruction"], shapes["bits"] = output.coded.reconstruction, output.coded.bits
    made = {
        "front_end": ("irradiance",),
        "sensor": ("raw", "measurement"),
        "codec": ("reconstruction", "bits"),
        "classifier": ("logits",),
    }
    wide, gap, high = 132, 26, 40
    x, parts = 1, []

    def plane(name: str, y: float) -> None:
        shape = ", ".join(map(str, shapes[name].shape))
        parts.append(f'<text class="plane" x="{x + wide / 2}" y="{y}">{name}</text>')
        parts.append(f'<text class="shape" x="{x + wide / 2}" y="{y + 14}">[{shape}]</text>')

    plane("scene", 20)
    for stage, module in system.stages():
        middle = high / 2 + 1
        parts.append(
            f'<path class="flow" d="M{x + wide + 3},{middle} L{x + wide + gap - 4},{middle} '
            f"m-6,-4 l6,4 l-6,4"
            f'"/>'
        )
        x += wide + gap
        parts.append(
            f'<rect class="{stage}" x="{x}" y="1" width="{wide}" height="{high}" rx="6"/>'
            f'<text class="stage" x="{x + wide / 2}" y="17">{stage}</text>'
            f'<text class="kind" x="{x + wide / 2}" y="32">{type(module).__name__}</text>'
        )
        for y, name in zip(itertools.count(high + 22, 38), made[stage], strict=False):
            plane(name, y)
    return _svg(x + wide + 1, high + 22 + 38 + 18, parts, "one pass through a system")


def _svg(width: float, height: float, parts: list[str], title: str) -> str:
    return (
        f'<div class="diagram"><svg viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="min-width:{0.62 * width:.0f}px; max-width:{width:.0f}px" '
        f'role="img"><title>{title}</title>' + "".join(parts) + "</svg></div>\n"
    )
