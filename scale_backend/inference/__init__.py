"""The trained network made fast: folding, precision, the kinds of MLP, the U-Net."""
