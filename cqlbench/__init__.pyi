# What `__getattr__` imports on first use, for editors and type checkers.
from cqlbench.algorithms import ALGORITHMS as ALGORITHMS
from cqlbench.algorithms.cql import CQLConfig as CQLConfig
from cqlbench.experiments.api import list_algorithms as list_algorithms
from cqlbench.experiments.api import list_datasets as list_datasets
from cqlbench.experiments.api import load_dataset as load_dataset
from cqlbench.experiments.api import load_policy as load_policy
from cqlbench.experiments.api import run as run
from cqlbench.experiments.api import run_suite as run_suite
from cqlbench.records.frame import load_results as load_results
from cqlbench.trainer.config import CQLTrainerConfig as CQLTrainerConfig
from cqlbench.trainer.cql_loss import CQLLoss as CQLLoss
from cqlbench.trainer.trainer import CQLTrainer as CQLTrainer

SCORES_VERSION: int
__version__: str
