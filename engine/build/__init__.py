"""How a network becomes an engine: graph, typing, compilers, INT8, parity gate. Imports `tracking` and before."""
