"""Modules that are put into PL/Python function bodies when they are installed.

They run on the database server's own Python (3.9 or newer) with its standard library only, and import nothing
from this package.
"""
