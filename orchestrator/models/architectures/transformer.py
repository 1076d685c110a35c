"""Small transformers: one that classifies images, and one that predicts the next character of a text.

Both normalise before attention and before the perceptron, as GPT-2 does. They have no dropout.

Legend: B = batch, T = tokens, E = features of a token, H = heads, S = features of a head, H * S = E.
"""

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape

_NUM_FEATURES = 64
_NUM_HEADS = 4
_NUM_HIDDEN = 128

#: standard deviation of the initial position embeddings
_POSITION_SCALE = 0.02
#: images with a side below this, in pixels, have patches of 2x2 pixels, larger images have patches of 4x4
_SMALL_SIDE = 16


def vit(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build a vision transformer (arXiv 2010.11929) of 4 blocks with 4 heads of 16 features, for any image size.

    The mean over the patches replaces the class token. Zeros extend an image whose sides are no multiples of the patch.
    The model has 136,010 parameters for 8x8 grey images and 10 classes.
    """
    return VisionTransformer(input_shape, num_classes)


def char_transformer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build a causal language model over characters: 2 blocks with 4 heads of 16 features.

    The classes are the characters. The model takes texts up to the length in `input_shape`, and has 78,017 parameters
    for 40 of 65 characters.
    """
    return CharTransformer(input_shape[0], num_classes)


class SelfAttention(nn.Module):
    """Attention between tokens. A submodel may have fewer heads; the size of a head is constant."""

    def __init__(self, num_features: int, num_heads: int) -> None:
        super().__init__()
        self.head_size = num_features // num_heads
        self.query = nn.Linear(num_features, num_features)
        self.key = nn.Linear(num_features, num_features)
        self.value = nn.Linear(num_features, num_features)
        self.out = nn.Linear(num_features, num_features)

    def forward(self, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Map float32[B, T, E] to float32[B, T, E].

        `hidden`, bool[T, T], is True where the token of a row must not see the token of a column (None: sees all).
        """
        query, key, value = (self._heads(layer(tokens)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) * self.head_size**-0.5  # [B, H, T, T]
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        mixed = scores.softmax(-1) @ value  # [B, H, T, S]
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output

    def _heads(self, features: Tensor) -> Tensor:
        """Split float32[B, T, H * S] into heads, float32[B, H, T, S]."""
        heads: Tensor = features.unflatten(2, (-1, self.head_size)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return heads


class Block(nn.Module):
    """Attention and a perceptron over each token, both with a shortcut around them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_NUM_FEATURES)
        self.attention = SelfAttention(_NUM_FEATURES, _NUM_HEADS)
        self.norm2 = nn.LayerNorm(_NUM_FEATURES)
        self.fc1 = nn.Linear(_NUM_FEATURES, _NUM_HIDDEN)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(_NUM_HIDDEN, _NUM_FEATURES)

    def forward(self, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Map float32[B, T, E] to float32[B, T, E]; `hidden` as in SelfAttention."""
        tokens = tokens + self.attention(self.norm1(tokens), hidden)
        output: Tensor = tokens + self.fc2(self.gelu(self.fc1(self.norm2(tokens))))
        return output


class VisionTransformer(nn.Module):
    """Computes logits from the mean over the patches of an image."""

    def __init__(self, input_shape: InputShape, num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        patch = 2 if min(height, width) < _SMALL_SIDE else 4
        self.pad = nn.ZeroPad2d((0, -width % patch, 0, -height % patch))
        num_patches = -(-height // patch) * -(-width // patch)
        self.patches = nn.Conv2d(channels, _NUM_FEATURES, patch, stride=patch)
        self.positions = _positions(num_patches)
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.norm = nn.LayerNorm(_NUM_FEATURES)
        self.fc = nn.Linear(_NUM_FEATURES, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32[B, C, H, W], to logits, float32[B, num_classes]."""
        tokens = self.patches(self.pad(images)).flatten(2).transpose(1, 2)  # [B, T, E]
        tokens = tokens + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.fc(self.norm(tokens).mean(1))
        return logits


class CharTransformer(nn.Module):
    """Computes a logit for each character of the vocabulary: the next character of a text."""

    def __init__(self, length: int, num_characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, _NUM_FEATURES)
        self.positions = _positions(length)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(_NUM_FEATURES)
        self.fc = nn.Linear(_NUM_FEATURES, num_characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map texts, int64[B, T], to logits, float32[B, num_characters]. T is at most the length of the model."""
        length = tokens.size(1)
        features = self.embedding(tokens) + self.positions[:length]  # [B, T, E]
        future = tokens.new_ones((length, length), dtype=torch.bool).triu(1)
        for block in self.blocks:
            features = block(features, future)
        logits: Tensor = self.fc(self.norm(features[:, -1]))
        return logits


def _positions(num_tokens: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(num_tokens, _NUM_FEATURES) * _POSITION_SCALE)
