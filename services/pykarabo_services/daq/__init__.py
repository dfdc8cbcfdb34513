"""Recording runs: trains into HDF5 files that the EXtra-data ecosystem reads."""
