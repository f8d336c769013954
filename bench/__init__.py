"""Benchmarks: each a program `bench/NAME` that prints a table and, last, one JSON line."""
