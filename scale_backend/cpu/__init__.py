"""LLVM code for a processor's tiles and vectors, and its compiler."""
