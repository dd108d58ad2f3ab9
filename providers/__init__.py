"""One adapter a file behind one protocol, and the catalog of their models."""
