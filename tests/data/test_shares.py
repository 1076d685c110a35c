"""Shares from a symmetric Dirichlet distribution."""

import numpy as np
import pytest

from orchestrator.data.shares import dirichlet_shares


@pytest.mark.parametrize("alpha", [1e-320, 1e-9, 0.1, 1.0, 1e12, 1e308])
def test_dirichlet_shares_add_up_to_one_for_any_alpha(alpha: float) -> None:
    shares = dirichlet_shares(alpha, 7, 20, np.random.default_rng(0))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares >= 0).all()
    if alpha <= 1e-9:
        np.testing.assert_allclose(shares.max(axis=1), 1.0)
    if alpha >= 1e12:
        np.testing.assert_allclose(shares, 1 / 7, rtol=1e-5)
