"""The loaders of data sets, one per file. The registry names them, so that listing data sets imports no loader."""
