"""Every table and figure of the Inverse-Flow paper, and further studies of these layers, each as one command."""
