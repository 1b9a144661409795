"""The free body, built from MakeHuman's CC0 data."""
