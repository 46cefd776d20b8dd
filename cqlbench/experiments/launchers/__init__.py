"""Where a suite's units run: child processes, Ray, SLURM. An engine places, retries and packs."""
