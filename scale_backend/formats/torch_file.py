"""Files of torch.save, without torch: tensors become numpy arrays, and nothing in the file is run. numpy only."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted
from scale_backend.formats.pickled_values import Storage
from scale_backend.formats.restricted_pickle import RestrictedUnpickler

LARGEST = 2 << 30  # bytes


def read_torch(path: str | Path, largest: int = LARGEST) -> object:
    """The value of a torch file in the zip format (torch 1.6 and later). Tensors are stand-ins for
    `pickled_values.plain`. Raises ForeignFileError, OSError."""
    path = Path(path)
    check_size(path, largest)
    path.open("rb").close()  # what is wrong with the place is no fault of the content
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            index = next((name for name in sizes if name.endswith("data.pkl")), None)
            if index is None:
                raise ValueError("it holds no data.pkl")
            if any(
                entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()
            ):  # torch does not compress
                raise ValueError("it is packed in another way than torch packs")
            folder, storages = index.removesuffix("data.pkl"), {}

            def storage(_: str, kind: str, key: str, __: object, count: int, *___: object) -> Storage:
                if key not in storages:
                    data = archive.read(f"{folder}data/{key}")
                    if Storage.size(kind, count) != len(data):
                        raise ValueError("a tensor's numbers are not of its size")
                    storages[key] = Storage(kind, data)
                return storages[key]

            return RestrictedUnpickler(io.BytesIO(archive.read(index)), storage).load()
    except Exception as error:  # damaged archives raise many kinds
        raise ForeignFileError(f"{path.name} could not be read as a torch file ({quoted(error)}); copy it again or "
                               "choose another.") from error  # fmt: skip
