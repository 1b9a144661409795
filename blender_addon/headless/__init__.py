"""Without a window: the command line and its renders."""
