"""The driver and the rounds: sampling, phases, admission, synchronous and asynchronous rounds, evaluation."""
