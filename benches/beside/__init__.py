"""Parts of the comparison with other clients (../peers.py)."""
