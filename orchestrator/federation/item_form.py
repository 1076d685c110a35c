"""The form of an item that a client must send, and the check of a payload against all forms of its task."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import WireError
from orchestrator.formatting import counted
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemForm:
    """What an item of an update must be.

    - `kinds`: the classes that the item may have.
    - `size`: number of entries of the vector; a masked item counts the entries outside its mask too. None: any number,
      or the item is no vector. `Algorithm.unpack` checks the size of the model's item.
    - `required`: whether every update has the item.
    - `max_values`: the largest number of values of a masked item; None: any number.
    """

    kinds: tuple[type[Item], ...]
    size: int | None = None
    required: bool = True
    max_values: int | None = None


#: the model of an update, in the form that `pack_model` builds
MODEL_FORM = ItemForm(kinds=(Dense, Masked))


def require_forms(payload: Payload, forms: Mapping[str, ItemForm]) -> None:
    """Raise WireError for an item that `forms` does not name, a missing item, and an item of another form."""
    for item in payload:
        form = forms.get(item.name)
        if form is None:
            expected = ", ".join(map(repr, forms)) or "none"
            raise WireError(f"item {item.name!r} is unexpected; this task's items are: {expected}")
        _require_form(item, form)
    names = {item.name for item in payload}
    for name, form in forms.items():
        if form.required and name not in names:
            raise WireError(f"item {name!r} is missing")


def _require_form(item: Item, form: ItemForm) -> None:
    if not isinstance(item, form.kinds):
        kinds = " or ".join(kind.__name__ for kind in form.kinds)
        raise WireError(f"item {item.name!r} is of kind {type(item).__name__}, expected {kinds}")
    sizes = _sizes(item)
    if form.size is not None and set(sizes) != {form.size}:
        raise WireError(
            f"item {item.name!r} has {counted(sizes[-1], 'entry', 'entries')}, expected {form.size}"
        )
    if form.max_values is not None and isinstance(item, Masked) and item.values.size > form.max_values:
        raise WireError(
            f"item {item.name!r} has {counted(item.values.size, 'value')}; the limit is {form.max_values}"
        )


def _sizes(item: Item) -> tuple[int, ...]:
    """Numbers of entries that must agree: of the vector, and of a mask with the values that fit it."""
    match item:
        case Dense():
            return (item.values.size,)
        case Bits():
            return (item.bits.size,)
        case Masked():
            return item.width, item.width - item.num_kept + item.values.size
        case Scalar():
            return (1,)
