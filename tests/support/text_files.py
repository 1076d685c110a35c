"""A small text file, whose next characters models can learn."""

from pathlib import Path


def text_data(folder: Path) -> tuple[str, ...]:
    """Write a text with six roles, whose repeated lines a model can learn; return overrides that use it."""
    lines = [f"ROLE{k}:\n{'to be or not to be that is the question ' * 6}\n" for k in range(6)]
    (folder / "play.txt").write_text("\n".join(lines))
    return (
        "data.name=text",
        f"data.root={folder / 'play.txt'}",
        "data.sequence_length=8",
        "data.stride=2",
        "data.min_characters=10",
        "training.local_epochs=3",
    )
