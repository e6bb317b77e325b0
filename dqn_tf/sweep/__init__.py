"""Searches settings by Optuna, with several seeds a trial."""
