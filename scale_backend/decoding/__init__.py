"""From poses to points: the model, what is prepared, frames and batches."""
