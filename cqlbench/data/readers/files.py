"""Files of equally long arrays: HDF5, also in robomimic's layout, or npz."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import hdf5, robomimic
from cqlbench.data.readers.arrays import Arrays, Loaded, reading


@contextlib.contextmanager
def opened(path: Path, observation_keys: tuple[str, ...] | None = None) -> Iterator[Arrays]:
    """Open a file for reading: npz if it is called so, and HDF5 otherwise.

    `observation_keys` are, in robomimic's layout, the observations that are joined; `None`: all.

    Raises:
        DatasetError: the file is missing, of another format, cut short or damaged.
    """
    if path.suffix != ".npz":
        with hdf5.opened(path) as file:
            demonstrations = robomimic.demonstrations(file)
            yield robomimic.joined(file, demonstrations, observation_keys) if demonstrations else file
        return
    if kind(path) != "file":
        raise DatasetError(f"There is no file {path}; check the path.")
    with contextlib.ExitStack() as stack:
        with reading(str(path)):
            # Our own handle: numpy leaves a damaged file open.
            archive = np.load(stack.enter_context(path.open("rb")), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DatasetError(f"{path} is a single array, and an npz file with D4RL's keys is needed.")
        yield Loaded(path, stack.enter_context(archive))
