"""Tests of the Python scripts beside this folder."""
