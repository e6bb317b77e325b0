"""How a run goes: rounds, evaluation, checkpoints, metrics, export."""
