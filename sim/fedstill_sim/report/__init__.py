"""Results of runs, and the reports made of them."""
