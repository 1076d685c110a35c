"""The names under which a checkpoint of another code base contains a model's tensors (`model.init_names`)."""

from collections.abc import Mapping, Sequence

from orchestrator.errors import ModelError
from orchestrator.suggest import suggest


def file_names(own: Sequence[str], names: Mapping[str, str | None]) -> dict[str, str]:
    """Return the name in the file of each tensor of the model that is loaded, by the model's name.

    `own` are the names of the model's tensors. A key of `names` is the name of a tensor, or the path of a part of the
    model such as `encoder.layer1`; the empty key stands for the whole model. The value replaces the key in the names
    of all tensors of this part, and the longest key decides. None excludes the part. Tensors without a key are not
    loaded.

    Raises ModelError for a key that no tensor of the model has.
    """
    for key in names:
        if not any(_is_part(name, key) for name in own):
            parts = {
                ".".join(name.split(".")[:depth]) for name in own for depth in range(1, name.count(".") + 2)
            }
            problem = f"the model has no tensor or part {key}"
            raise ModelError("model.init_names", {key: names[key]}, problem, suggest(key, parts))
    found: dict[str, str] = {}
    for name in own:
        keys = [key for key in names if _is_part(name, key)]
        if keys:
            key = max(keys, key=len)
            replacement = names[key]
            if replacement is not None:
                rest = name[len(key) :].removeprefix(".")
                found[name] = ".".join(part for part in (replacement, rest) if part)
    return found


def _is_part(name: str, key: str) -> bool:
    return not key or name == key or name.startswith(f"{key}.")
