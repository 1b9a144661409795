"""What can be worn, and what the backend has open."""
