"""Tests of the demonstration without the real program."""
