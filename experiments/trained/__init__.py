"""Tables of trained flows: how they are trained, measured, printed and plotted."""
