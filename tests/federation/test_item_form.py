"""The form of an update's items: unexpected, missing and misshapen items are rejected by name."""

import numpy as np
import pytest

from orchestrator.errors import WireError
from orchestrator.federation.item_form import MODEL_FORM, ItemForm, require_forms
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar

VALUES = np.zeros(3, np.float32)
MASK = np.array([True, False, True, False])
#: 2 of 4 maskable entries and 1 further entry: 5 entries in all, 3 values
MASKED = Masked("model", VALUES, MASK)


@pytest.mark.parametrize(
    ("item", "form"),
    [
        (Dense("model", VALUES), MODEL_FORM),
        (MASKED, MODEL_FORM),
        (Dense("model", VALUES), ItemForm(kinds=(Dense,), size=3)),
        (Masked("model", VALUES[:2], MASK), ItemForm(kinds=(Masked,), size=4, max_values=2)),
        (Bits("model", MASK), ItemForm(kinds=(Bits,), size=4)),
        (Scalar("model", 1.0), ItemForm(kinds=(Scalar,))),
    ],
)
def test_item_of_its_form_is_accepted(item: Item, form: ItemForm) -> None:
    require_forms((item,), {"model": form})


@pytest.mark.parametrize(
    ("item", "form"),
    [
        (Bits("model", MASK), MODEL_FORM),
        (Scalar("model", 1.0), MODEL_FORM),
        (Dense("model", VALUES), ItemForm(kinds=(Dense,), size=4)),
        (Bits("model", MASK), ItemForm(kinds=(Bits,), size=5)),
        (Masked("model", VALUES, MASK), ItemForm(kinds=(Masked,), size=4)),
        (Masked("model", VALUES[:2], MASK), ItemForm(kinds=(Masked,), size=5)),
        (Masked("model", VALUES[:2], MASK), ItemForm(kinds=(Masked,), size=4, max_values=1)),
        (Dense("model", VALUES), ItemForm(kinds=(Scalar,))),
    ],
)
def test_item_of_another_form_is_rejected(item: Item, form: ItemForm) -> None:
    with pytest.raises(WireError, match="'model'"):
        require_forms((item,), {"model": form})


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ((), "'model'"),
        ((Dense("model", VALUES), Scalar("extra", 1.0)), "'extra'"),
        ((Scalar("extra", 1.0),), "'extra'"),
    ],
)
def test_missing_and_unexpected_items_are_named(payload: Payload, named: str) -> None:
    with pytest.raises(WireError, match=named):
        require_forms(payload, {"model": MODEL_FORM})


def test_optional_item_may_be_missing() -> None:
    forms = {"model": MODEL_FORM, "mask": ItemForm(kinds=(Bits,), size=4, required=False)}
    require_forms((MASKED,), forms)
    require_forms((MASKED, Bits("mask", MASK)), forms)
