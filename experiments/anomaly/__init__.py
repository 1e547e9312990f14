"""Anomalies in tables and images, one class against the rest."""
