"""One module per command: a query over the engine, then a printer. Each function returns an exit code."""
