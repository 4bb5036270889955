"""How a network becomes an engine: graph, typing, compilers, INT8, parity gate. Imports the rooms up to `tracking`."""
