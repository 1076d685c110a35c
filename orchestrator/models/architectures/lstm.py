"""A recurrent model that predicts the next character of a text."""

from torch import Tensor, nn

from orchestrator.models.shapes import InputShape

_NUM_FEATURES = 8
_NUM_HIDDEN = 64


def char_lstm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build a model with 8 features per character, one LSTM layer of 64 units and a dense head; texts of any length.

    The model is a smaller form of FedAvg's character model (arXiv 1602.05629), which has two layers of 256 units. The
    classes are the characters. The model has 23,689 parameters for 65 characters.
    """
    return CharLSTM(num_classes)


class CharLSTM(nn.Module):
    """Computes a logit for each character of the vocabulary: the next character of a text."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, _NUM_FEATURES)
        self.lstm = nn.LSTM(_NUM_FEATURES, _NUM_HIDDEN, batch_first=True)
        self.fc = nn.Linear(_NUM_HIDDEN, num_characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map texts, int64[B, T], to logits, float32[B, num_characters]."""
        output = self.lstm(self.embedding(tokens))[0]  # [B, T, hidden]
        logits: Tensor = self.fc(output[:, -1])
        return logits
