"""Decodes a slice of an encoded payload: some coordinates of a vector, without the others."""
