"""Pictures in the documentation: a frame per family, `data show` of every embedded dataset, a report's plots.

`make gallery` writes those of datasets into `docs/images/datasets`, in minutes, most of them for making the
datasets; `make gallery ARGS=hopper` those whose id has "hopper" in it, and the frames. `make gallery
ARGS=report=FOLDER` takes the plots and the README's table from the report in that folder (`suite_table.py`).
"""

import io
import sys
import tempfile
from pathlib import Path

import suite_table
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from cqlbench.commands.data_check import show
from cqlbench.data.cards import all_cards
from cqlbench.environments.rendering import Picture, picture
from cqlbench.environments.spec import EnvironmentSpec
from cqlbench.reporting.plots.style import STYLE

_IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
_WIDTH = 1260
"""Pixels across a picture in the documentation, at most."""

_FAMILIES = {
    "hopper": "d4rl/hopper-medium-v2",
    "halfcheetah": "d4rl/halfcheetah-medium-v2",
    "walker2d": "d4rl/walker2d-medium-v2",
    "ant": "d4rl/ant-medium-v2",
    "maze2d, pointmaze": "embedded/pointmaze-medium-v0",
    "antmaze": "d4rl/antmaze-medium-play-v2",
    "adroit: pen": "d4rl/pen-human-v1",
    "adroit: door": "d4rl/door-human-v1",
    "adroit: hammer": "d4rl/hammer-human-v1",
    "adroit: relocate": "d4rl/relocate-human-v1",
    "kitchen": "d4rl/kitchen-complete-v0",
    "minigrid": "minari/D4RL/minigrid/fourrooms-v0",
    "BabyAI": "minari/minigrid/BabyAI-GoToLocal/optimal-v0",
    "pendulum": "embedded/pendulum-random-v0",
}
"""What stands below a frame -> a dataset of that family."""


def main(part: str = "") -> None:
    """Write the pictures; of the datasets those alone that have `part` in their id."""
    if part.startswith("report="):
        report = Path(part.removeprefix("report="))
        for name in suite_table.PLOTS:
            _save((report / "plots" / f"{name}.png").read_bytes(), f"report/{name}")
        suite_table.write(report)
        return
    _save(_sheet({label: _environment(name) for label, name in _FAMILIES.items()}), "datasets/families")
    for card in all_cards().values():
        if card.source == "embedded" and part in card.id:
            with tempfile.TemporaryDirectory() as folder:
                show(Console(), card.id, "auto", False, Path(folder))
                (drawn,) = Path(folder).glob("datasets/*.png")
                _save(drawn.read_bytes(), f"datasets/{card.id.partition('/')[2]}")


def _environment(name: str) -> EnvironmentSpec:
    environment = all_cards()[name].environment
    assert environment is not None
    return environment


def _sheet(environments: dict[str, EnvironmentSpec]) -> bytes:
    """A PNG of frames at the beginning of an episode, seven in a row."""
    with style.context(STYLE, after_reset=True):
        canvas = Figure(figsize=(8.4, 2.9))
        FigureCanvasAgg(canvas)
        panels = canvas.subplots(2, 7)
        for axes, (label, spec) in zip(panels.flat, environments.items(), strict=True):
            axes.imshow(_square(picture(spec)))
            axes.set_title(label, fontsize=8, loc="center")
            axes.set_axis_off()
        file = io.BytesIO()
        canvas.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _square(frame: Picture) -> Picture:
    """The middle of a frame, as wide as it is high."""
    side = min(frame.shape[:2])
    top, left = ((size - side) // 2 for size in frame.shape[:2])
    return frame[top : top + side, left : left + side]


def _save(content: bytes, name: str) -> None:
    with Image.open(io.BytesIO(content)) as whole:
        width = min(_WIDTH, whole.width)
        height = round(whole.height * width / whole.width)
        small = whole.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    # An octree's palette, which keeps the few colours that mark a goal or an agent.
    small.quantize(256, Image.Quantize.FASTOCTREE).save(_IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
