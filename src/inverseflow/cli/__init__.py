"""The command line: `inverseflow COMMAND`."""
