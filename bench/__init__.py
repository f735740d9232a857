"""Benchmarks: kernels against the reference with `pytest bench/ --benchmark-only`, and whole steps against other libraries
with `python -m bench.compare`.
"""
