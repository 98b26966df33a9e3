"""The rooms of the package and their order: an import may only point down, inside functions too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fsft"
# From the top to the bottom. The core is what lies in fsft/ itself.
FLOORS = [
    ("cli",),
    ("figures",),
    ("evidence",),
    ("maps", "apply"),
    ("catalog",),
    ("core",),
    ("datasets",),
    ("runtime",),
]
DOORS = ("__init__", "__main__")  # they open every room
LEVEL = {room: level for level, rooms in enumerate(reversed(FLOORS)) for room in rooms}


def modules():
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def imported(path, names):
    """The modules of the package that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in (name.removeprefix("fsft.") for name in found if name.startswith("fsft.")):
            if name in names:
                yield name


def room(module, names):
    head = module.partition(".")[0]
    return head if (PACKAGE / head).is_dir() else "core"


def test_every_room_has_its_floor():
    names = modules()
    assert {room(name, names) for name in names if name not in DOORS} == set(LEVEL)


def test_arrows_between_rooms_point_down():
    names = modules()
    up = [
        f"{name} imports {other}"
        for name, path in names.items()
        if name not in DOORS
        for other in imported(path, names)
        if (here := room(name, names)) != (there := room(other, names)) and LEVEL[there] >= LEVEL[here]
    ]
    assert up == []


def test_no_circle_inside_a_room():
    names = modules()
    left = {name: set(imported(path, names)) - {name} for name, path in names.items() if name not in DOORS}
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        if not free:
            pytest.fail(f"a circle among {sorted(left)}")
        for name in free:
            del left[name]


def test_the_core_is_read_in_an_evening():
    core = sorted(PACKAGE.glob("*.py"))
    assert len(core) <= 15 and sum(len(path.read_text().splitlines()) for path in core) <= 2500
    everything = sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py"))
    assert everything <= 11_500
