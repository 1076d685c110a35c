"""What a run will cost, before it runs: bytes, FLOPs, emulated and wall time, memory and actors."""
