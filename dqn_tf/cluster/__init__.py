"""The cluster in which this process trains: finding it, starting a local one, watching it."""
