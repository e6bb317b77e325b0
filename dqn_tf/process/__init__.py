"""This process: its output, signals, limits and cores. A library that is imported changes none of them."""
