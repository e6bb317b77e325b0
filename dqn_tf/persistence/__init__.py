"""What of a run is on a disk: its directory, checkpoints, and copies in a bucket."""
