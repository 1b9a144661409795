"""Bodies, carriers, positional maps, rotations, collision."""
