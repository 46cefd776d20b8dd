"""What every package uses: errors, paths, files, seeds, signals, progress, devices."""
