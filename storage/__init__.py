"""Tables, the transactions on them, and their migrations."""
