"""`python -m cqlbench` is `cqlbench`."""

import sys

from cqlbench.commands.main import main

sys.exit(main())
