"""Flows of vectors: tables, parameters, features."""
