"""Find defects on surfaces by flows of the features of a network."""
