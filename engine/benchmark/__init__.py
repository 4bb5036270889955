"""Speed measurements and comparisons. Imports `output` and the rooms before it."""
