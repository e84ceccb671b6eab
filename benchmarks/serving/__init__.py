"""What ``benchmarks/serving_load.py`` consists of: a client, the systems under load, and the steps."""
