"""The server and its sessions."""
