"""A recurrent net that predicts the character after a text."""

from torch import Tensor, nn

from orchestrator.models.shapes import InputShape

_NUM_FEATURES = 8
_NUM_HIDDEN = 64


def char_lstm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """8 features a character, one LSTM layer of 64 units and a dense head; texts of any length.

    A small form of the character model of FedAvg (arXiv 1602.05629), which has two layers of 256 units.
    23,689 parameters for 65 characters, the classes being the characters.
    """
    return CharLSTM(num_classes)


class CharLSTM(nn.Module):
    """Scores each character of the vocabulary as the one that follows a text."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, _NUM_FEATURES)
        self.lstm = nn.LSTM(_NUM_FEATURES, _NUM_HIDDEN, batch_first=True)
        self.fc = nn.Linear(_NUM_HIDDEN, num_characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[B, T] -> logits float32[B, num_characters]."""
        output = self.lstm(self.embedding(tokens))[0]  # [B, T, hidden]
        logits: Tensor = self.fc(output[:, -1])
        return logits
