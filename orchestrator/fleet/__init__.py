"""Devices, their virtual clock, and who is drawn for a round."""
