"""`python -m cqlbench` is `cqlbench`."""

import sys

from cqlbench.cli import main

sys.exit(main())
