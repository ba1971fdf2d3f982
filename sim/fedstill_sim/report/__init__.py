"""Reports of runs: pages, charts and tables, made of results alone."""
