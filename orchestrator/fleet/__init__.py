"""Emulated devices: profiles, fleets and traces, the virtual clock, and the sampling of clients."""
