"""What a run is told: the settings as a tree of dataclasses, as flags, as JSON, as presets."""
