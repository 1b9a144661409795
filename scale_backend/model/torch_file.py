"""Files of torch.save as torch reads them: weights only, and no more memory than the file has bytes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted

LARGEST_FILE = 2 << 30  # bytes


def load_torch(path: str | Path, device: str | torch.device = "cpu", largest: int = LARGEST_FILE) -> object:
    """The value of a torch file, old or new. Nothing in it is run. Raises ForeignFileError, OSError."""
    path = Path(path)
    check_size(path, largest)
    path.open("rb").close()  # what is wrong with the place is no fault of the content
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("it is packed in another way than torch packs")
        content = torch.load(path, map_location=device, weights_only=True)
        for tensor in _tensors(content):
            if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
                raise ValueError("it holds a tensor that is larger than its numbers")
    except pickle.UnpicklingError as error:
        raise ForeignFileError(
            f"{path.name} was not opened: it is no torch file, or holds more than tensors; choose a checkpoint."
        ) from error
    except Exception as error:  # damaged archives raise many kinds
        raise ForeignFileError(
            f"{path.name} could not be read as a torch file ({quoted(error)}); copy it again."
        ) from error
    return content


def _tensors(content: object) -> Iterator[Tensor]:
    """Those of a checkpoint: in dictionaries and lists, each looked at once."""
    seen, left = set(), [content]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
