"""Style of one picture for the content of another, and the stain of one slide for another."""
