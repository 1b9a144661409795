"""Files of the research code and of SMPL."""
