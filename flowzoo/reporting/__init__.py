"""Published numbers, results of runs, tables, plots and diagnostics."""
