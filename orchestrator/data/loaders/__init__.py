"""One loader a file; the registry names them, so that listing data sets imports none."""
