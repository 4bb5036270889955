"""How fast, against what. Imports `output` and before."""
