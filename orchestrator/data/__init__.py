"""Data sets, their split over clients, and the tensors a client trains on."""
