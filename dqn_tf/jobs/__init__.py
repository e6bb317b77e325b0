"""Job files for clouds and clusters, made from the run's own configuration, and what they will cost."""
