"""This process: its output, signals, limits and cores. Importing the library changes none of them."""
