"""The network, the garment file, the tracked surface."""
