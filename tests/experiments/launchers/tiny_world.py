"""A program: the real command, in the world of the fixture `world`: `python tiny_world.py FOLDER VERB …`.

It is what launchers' units are in the tests. Most of a short run's time is left out.
"""

import sys
from pathlib import Path

import cqlbench.data.cards
import cqlbench.data.embedded.policy
import cqlbench.reporting.run
from cqlbench.commands.main import main
from cqlbench.engine.engine import Engine

folder = Path(sys.argv[1])
cqlbench.data.cards.cards_dir = lambda: folder / "cards"
cqlbench.data.embedded.policy.policies_dir = lambda: folder / "policies"
cqlbench.reporting.run.learning_curve = lambda _summary, _kind: b""
Engine.seconds_per_step = lambda _self: 0.1
sys.exit(main(sys.argv[2:]))
