"""How well settings learn: environments x settings x seeds, side by side, with statistics, a table and curves."""
