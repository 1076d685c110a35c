"""Loads a data set of Hugging Face's library `datasets`, saved with `save_to_disk`, as images or as vectors.

- A data set with a column of images is read as `parquet` reads its files.
- The columns of any other data set are read as `table` reads them.
- Of a DatasetDict the splits with the names of a training and of a test part are read.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import EncodedImages, decode_parts
from orchestrator.data.loaders.locate import existing_root, require_size
from orchestrator.data.loaders.parquet import image_columns, image_source
from orchestrator.data.loaders.parts import TRAIN_NAMES, choose_test, unused_note
from orchestrator.data.loaders.table import splits_of_tables
from orchestrator.data.loaders.values import column_values
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_LAYOUT = "a folder that `save_to_disk` of a Dataset or DatasetDict has written"


def load(config: DataConfig) -> Splits:
    """Load uint8 images [N, C, H, W], or vectors float32[N, F].

    Raises DataError without the library, for a folder that it cannot read, and as the two other loaders do.
    """
    root = existing_root(config, _LAYOUT)
    parts, notes = _choose(root, _open(config, root))
    for name, part in parts:
        require_size(config, part.dataset_size or 0, f"split {name}")
    tables = [(_table(part), f"split {name}") for name, part in parts]
    require_size(config, sum(table.nbytes for table, _ in tables), str(root))
    if any(_is_image(field) for field in tables[0][0].schema):
        return _images(config, tables, root, notes)
    return splits_of_tables(config, tables, notes)


def _open(config: DataConfig, root: Path) -> dict[str, Any]:
    """Return the splits by name; a Dataset without splits is the training part."""
    try:
        import datasets
    except ImportError as error:
        problem = "the library datasets is not installed"
        raise DataError(
            "data.name", config.name, problem, "pip install 'sparsefleet[huggingface]'"
        ) from error
    try:
        found = datasets.load_from_disk(str(root))
    except Exception as error:  # the library raises many types for a damaged folder
        problem = f"is not a readable data set ({' '.join(str(error).split())})"
        raise DataError("data.root", root, problem, f"point it at {_LAYOUT}") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {TRAIN_NAMES[0]: found}


def _choose(root: Path, splits: dict[str, Any]) -> tuple[list[tuple[str, Any]], tuple[str, ...]]:
    names = {name.lower(): name for name in splits}
    train = next((names[name] for name in TRAIN_NAMES if name in names), None)
    if train is None:
        problem = f"the data set has only the splits {', '.join(splits)}"
        raise DataError("data.root", root, problem, "name one split train")
    test = choose_test(names, lambda name: len(splits[name]) > 0)
    chosen = [name for name in (train, test) if name is not None]
    unused = [root / name for name in splits if name not in chosen]
    notes = unused_note(root, unused, "not the training or the test part")
    return [(name, splits[name]) for name in chosen], notes


def _table(part: Any) -> "pyarrow.Table":
    """Return the rows of a split in its order, with images as encoded bytes."""
    return part.with_format("arrow")[:]


def _is_image(field: "pyarrow.Field") -> bool:
    import pyarrow.types as types

    return bool(types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)


def _images(
    config: DataConfig, tables: "list[tuple[pyarrow.Table, str]]", root: Path, notes: tuple[str, ...]
) -> Splits:
    encoded, rows = [], []
    for number, (table, place) in enumerate(tables):
        columns = image_columns(config, table.schema, place, needs_client=number == 0)
        cells = table.column(columns.image).to_pylist()
        sources = [image_source(config, cell, root / place, row) for row, cell in enumerate(cells)]
        encoded.append(EncodedImages(sources, [f"row {row} of {place}" for row in range(table.num_rows)]))
        labels = column_values(table, columns.label, "data.label_column", place)
        client = columns.client
        ids = None if client is None else column_values(table, client, "data.client_column", place)
        rows.append((labels, ids, f"column {columns.label} of {place}"))
    images, image_notes = decode_parts(config, encoded)
    parts = [LoadedPart(pixels, *row) for pixels, row in zip(images, rows, strict=True)]
    return Splits(parts[0], parts[1] if len(parts) > 1 else None, notes=(*image_notes, *notes))
