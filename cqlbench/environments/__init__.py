"""Environments: their specs, the simulators behind them, and states of simulators."""
