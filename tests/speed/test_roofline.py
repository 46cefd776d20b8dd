"""The roofline by hand, and peaks that a machine really has."""

import pytest
import torch
from speed.roofline import Peaks, bytes_moved, measure_peaks, roofline_seconds
from speed.workload import Product


def test_bytes_and_seconds_by_hand() -> None:
    product = Product(groups=2, rows=3, inner=5, columns=7)
    assert bytes_moved([product]) == 4 * 2 * (15 + 35 + 21)
    # 420 operations and 568 bytes: bound by arithmetic on the first machine, by memory on the second.
    assert roofline_seconds([product], Peaks(flops=420, bandwidth=1e9)) == pytest.approx(1.0)
    assert roofline_seconds([product], Peaks(flops=1e9, bandwidth=568)) == pytest.approx(1.0)


def test_peaks_are_positive_and_finite() -> None:
    peaks = measure_peaks(torch.device("cpu"), size=128)
    assert 1e8 < peaks.flops < 1e15
    assert 1e8 < peaks.bandwidth < 1e14
