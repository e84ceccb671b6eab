"""Judging files by the million on Ray Data: from an inbox to a folder of Parquet, one row a file."""
