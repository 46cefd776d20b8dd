"""Figures of runs, reports and datasets."""
