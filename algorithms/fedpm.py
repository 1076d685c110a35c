"""FedPM: clients learn which weights of a random network to use, and upload one bit for each weight.

The weights are random and never change. Clients learn the probability with which each weight is used, and upload one
sampled bit for each weight. The server computes the next probabilities from the bits. Weights are never sent.

Symbols: s = run.scratch(FedPMScores), theta = sigmoid(s) = state.probability, m = a sampled mask, lambda_0 =
algorithm.prior, +-c = fixed_weights() with c = e sqrt(1 / fan_in), sampled from the seed at both ends.

Deviations:

- Biases and norm parameters keep their initial values and are always present. The public code masks biases too.
  Running statistics, which its models do not have, are sent as values and averaged.
- The server clamps theta to [.01, .99], because the clients send pure bits. In the public code the clients clamp the
  bits.
- The wire format codes the bits: as a bitmap, or as the gaps of rare bits. The paper has an arithmetic code.
- `estimator=authors` is the public code's gradient: theta dL/dm, where `straight_through` has dL/dm. Both are
  multiplied by theta (1 - theta).
- The public code resets the prior in each round. `reset_every` sets a slower schedule, for which no reference is
  known.
- The global model has the weights with theta > .5. In the public code it is a sample.
- Of `training`, only epochs and batches have an effect: Adam trains the scores at `score_lr`, and its moments are new
  in each round. In the public code clients keep their moments.
- FLOPs count as dense, because every score needs its gradient and each batch samples a new mask.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import e, prod, sqrt
from typing import ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Adam,
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Bits,
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    ServerState,
    Traits,
    find_values,
    stream,
)

_MASK, _PROBABILITY, _STATISTICS = "mask", "probability", "statistics"
_LOWEST, _HIGHEST = 0.01, 0.99


class FedPMConfig(AlgorithmConfig):
    """Options of FedPM."""

    score_lr: float = Field(0.1, gt=0.0, description="learning rate of Adam on the scores")
    estimator: Literal["authors", "straight_through"] = Field(
        "authors",
        description="gradient through a sampled bit: times its probability, as in the public code, or unchanged",
    )
    prior: float = Field(
        1.0, ge=1.0, description="lambda_0: the prior of a probability is Beta(lambda_0, lambda_0)"
    )
    reset_every: int | None = Field(
        1, ge=1, description="rounds after which the server forgets the received bits; None: never"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FedPMState(ServerState):
    """Adds theta, float32[W], and of the `num_bits` seen for each weight the number of ones, float32[W].

    `params` and `mask` are the model to evaluate: the fixed weights with theta > .5.
    """

    probability: Tensor
    ones: Tensor
    num_bits: int


@dataclass(frozen=True, eq=False)
class FixedWeights:
    """float32[T]: the weights that are never trained."""

    weights: Tensor


@dataclass(frozen=True, eq=False)
class FedPMScores:
    """float32[T]: the scores in training, changed in place by the optimiser."""

    values: Tensor


@final
class FedPM(Algorithm[FedPMState, None]):
    """Probabilistic masks over random weights."""

    Config: ClassVar[type[AlgorithmConfig]] = FedPMConfig
    config: FedPMConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="learned",
        density="adaptive",
        payload="mask bits up, probabilities down, no weights",
        citations=(references.FEDPM,),
    )

    def fixed_weights(self) -> Tensor:
        """float32[D]: +-c at random where a mask applies, the initial values elsewhere."""
        values = torch.from_numpy(self.setting.initial.copy())
        rng = stream(self.setting.seed, "server", "signs")
        for segment in self.setting.layout.maskable:
            size = e * sqrt(1.0 / prod(segment.shape[1:]))
            signed = rng.choice(np.array([-size, size], np.float32), segment.size)
            values[segment.slice] = torch.from_numpy(signed)
        return values

    def init(self, params: Tensor) -> FedPMState:
        """Scores are normally distributed; no bits have been received."""
        layout = self.setting.layout
        rng = stream(self.setting.seed, "server", "scores")
        scores = torch.from_numpy(rng.standard_normal(layout.num_maskable))
        statistics = params[layout.num_trainable :]
        return self._state(torch.sigmoid(scores), statistics, torch.zeros(layout.num_maskable), 0)

    def broadcast(self, state: FedPMState) -> Payload:
        """theta, and the running statistics if the model has any."""
        return (Dense(_PROBABILITY, state.probability.numpy()), *self._statistics(state.params))

    def load(self, run: LocalRun[None]) -> None:
        """The model to evaluate, from theta and the seed."""
        layout, fixed = self.setting.layout, self.fixed_weights()
        if layout.num_trainable < layout.size:
            fixed[layout.num_trainable :] = torch.tensor(find_values(run.payload, _STATISTICS))
        probability = torch.tensor(find_values(run.payload, _PROBABILITY))
        run.load(fixed, layout.expand(probability > 0.5))
        run.put_scratch(FixedWeights(fixed[: layout.num_trainable].to(run.values.device)))

    def on_train_start(self, run: LocalRun[None]) -> None:
        """s = logit theta, and infinite, so that the bit is always 1, where no mask applies."""
        layout = self.setting.layout
        probability = torch.tensor(find_values(run.payload, _PROBABILITY))
        scores = torch.full((layout.size,), torch.inf)
        scores[~layout.expand(torch.zeros_like(probability, dtype=torch.bool))] = torch.logit(probability)
        run.put_scratch(FedPMScores(scores[: layout.num_trainable].to(run.values.device)))
        run.set_mask(None)
        run.optimizer = Adam(self.config.score_lr, 0.0, decoupled=False)

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        """One step of the scores, on a model sampled for this batch."""
        scores, fixed = run.scratch(FedPMScores).values, run.scratch(FixedWeights).weights
        probability = torch.sigmoid(scores)
        run.values[: scores.numel()] = torch.bernoulli(probability) * fixed
        run.backward(batch, partial(self.loss, run))
        gradient = run.grad * fixed * probability * (1.0 - probability)
        if self.config.estimator == "authors":
            gradient.mul_(probability)
        run.optimizer.step(scores, gradient)

    def after_train(self, run: LocalRun[None]) -> None:
        """The client's own model is that of theta > .5. Raises FloatingPointError for a score that is NaN."""
        scores = run.scratch(FedPMScores).values
        if bool(scores.isnan().any()):
            raise FloatingPointError("the trained scores are not finite; lower algorithm.score_lr")
        run.values[: scores.numel()] = run.scratch(FixedWeights).weights * (scores > 0.0)

    def pack(self, run: LocalRun[None]) -> Payload:
        """One bit for each weight, sampled with probability theta."""
        bits = torch.bernoulli(torch.sigmoid(run.scratch(FedPMScores).values)).bool()
        return (Bits(_MASK, self.setting.layout.restrict(bits).cpu().numpy()), *self._statistics(run.values))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The bits, and the running statistics if the model has any."""
        forms = {_MASK: ItemForm(kinds=(Bits,), size=self.setting.layout.num_maskable)}
        if num_statistics := self.setting.layout.size - self.setting.layout.num_trainable:
            forms[_STATISTICS] = ItemForm(kinds=(Dense,), size=num_statistics)
        return forms

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0

    def server_update(self, state: FedPMState, aggregate: Aggregate, round_idx: int) -> FedPMState:
        """theta is the mode of Beta(lambda_0 + ones, lambda_0 + zeros)."""
        num_bits = aggregate.num_updates
        ones = torch.round(aggregate.extras[_MASK] * num_bits)
        every = self.config.reset_every
        if every is None or round_idx % every:
            ones, num_bits = ones + state.ones, num_bits + state.num_bits
        surplus = self.config.prior - 1.0
        probability = (surplus + ones) / (2.0 * surplus + num_bits)
        statistics = aggregate.extras.get(_STATISTICS, state.params[self.setting.layout.num_trainable :])
        return self._state(probability, statistics, ones, num_bits)

    def _state(self, probability: Tensor, statistics: Tensor, ones: Tensor, num_bits: int) -> FedPMState:
        """The server state with these probabilities, clamped so that their logits are finite."""
        layout = self.setting.layout
        probability = probability.clamp(_LOWEST, _HIGHEST).to(torch.float32)
        mask = layout.expand(probability > 0.5)
        params = self.fixed_weights() * mask
        params[layout.num_trainable :] = statistics
        return FedPMState(
            params=params,
            mask=mask,
            probability=probability,
            ones=ones.to(torch.float32),
            num_bits=num_bits,
        )

    def _statistics(self, values: Tensor) -> Payload:
        """Running statistics of float32[D] values, if the model has any."""
        statistics = values[self.setting.layout.num_trainable :].detach().cpu()
        return (Dense(_STATISTICS, statistics.numpy()),) if statistics.numel() else ()
