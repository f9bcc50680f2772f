"""The experiments: one file for each dataset, `--config=configs/FILE.py[:entry[,flag …]]`."""
