"""A display that records what a run shows."""

from orchestrator.tracking.record import RoundRecord


class Notes:
    """Records the lines of text, and counts the rounds."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.num_rounds = 0

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """See Display."""

    def update(self, record: RoundRecord) -> None:
        """See Display."""
        self.num_rounds += 1

    def note(self, text: str) -> None:
        """See Display."""
        self.notes.append(text)

    def stop(self) -> None:
        """See Display."""
