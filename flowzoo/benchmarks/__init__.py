"""Programs that measure: `python -m flowzoo.benchmarks.<name>`."""
