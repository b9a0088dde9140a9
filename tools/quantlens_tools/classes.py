"""Class lists: ImageNet's wnids by default, or a file with one wnid or name a line."""

from pathlib import Path

from .errors import ToolError

_SYNSETS = Path(__file__).parents[2] / "crates/data/src/imagenet/synsets.txt"


def imagenet_wnids() -> list[str]:
    """ImageNet's 1000 WordNet ids in the order of the class index."""
    return [line.split()[0] for line in _SYNSETS.read_text().splitlines()]


def class_list(count: int, file: Path | None) -> list[str]:
    """Names of `count` classes: from `file`, else ImageNet's wnids where there are 1000, else `class 0` and so on."""
    if file is None:
        return imagenet_wnids() if count == 1000 else [f"class {index}" for index in range(count)]
    names = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if len(names) != count:
        raise ToolError(f"{file}: {len(names)} classes, the model has {count}")
    if len(set(names)) != count:
        raise ToolError(f"{file}: a class appears twice")
    return names
