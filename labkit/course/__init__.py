"""Whole notebooks, seen from outside: run, check, compare, report, build. Never imports torch."""
