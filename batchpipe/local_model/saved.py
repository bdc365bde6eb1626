"""A model as it is kept: arrays in NumPy's npz format, without pickle, and a description as JSON."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

from batchpipe.local_model.calibration import CalibrationLine, OutOfFold
from batchpipe.local_model.features import BITS, Features
from batchpipe.local_model.labels import FieldModel
from batchpipe.local_model.library import numpy, sparse
from batchpipe.local_model.model import KnownRows, LocalModel

FORMAT = 1


def save_model(model: LocalModel) -> tuple[bytes, str]:
    """Return the arrays as the bytes of an npz file, and the description. The same model gives the same bytes."""
    np = numpy()
    hashes = np.flatnonzero(model.features.table >= 0)
    arrays = {
        "hashes": hashes.astype(np.uint32),
        "idf": model.features.idf,
        "knots": model.calibration.knots,
        "shares": model.calibration.shares,
        "confidences": model.out_of_fold.confidences,
        "right": model.out_of_fold.right,
        "row_weights": model.out_of_fold.weights,
        "own": model.out_of_fold.own,
        "digests": model.out_of_fold.digests,
    }
    for number, field in enumerate(model.fields):
        arrays[f"known_{number}"] = field.known
        arrays[f"weights_{number}"] = field.weights.astype(np.float16)
        arrays[f"offsets_{number}"] = field.offsets
    if model.known is not None:
        arrays["places"] = model.known.places.astype(np.int32)
        arrays["row_values"] = model.known.matrix.data.astype(np.float16)
        arrays["row_columns"] = model.known.matrix.indices.astype(np.uint32)
        arrays["row_ends"] = model.known.matrix.indptr.astype(np.int64)
    described = {
        "format": FORMAT,
        "rows": model.rows,
        "width": model.width,
        "pieces": model.features.pieces,
        "accuracy": round(model.out_of_fold.accuracy, 6),
        "fields": [
            {"name": field.name, "values": list(field.values), "sharpness": field.sharpness} for field in model.fields
        ],
        "keys": None if model.known is None else list(model.known.keys),
    }
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue(), json.dumps(described, ensure_ascii=False, sort_keys=True)


def load_model(arrays: bytes, description: str) -> LocalModel:
    """Return the model that `save` kept. Raises ValueError for anything else."""
    np = numpy()
    try:
        said = json.loads(description)
        if said["format"] != FORMAT:
            raise ValueError(f"the format of the model is {said['format']!r}, and {FORMAT} is read here")
        with np.load(BytesIO(arrays), allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
        return _built(found, said)
    except (BadZipFile, KeyError, TypeError, IndexError, OSError, EOFError) as error:
        raise ValueError(f"the arrays of the model cannot be read: {error}") from error


def _built(arrays: dict[str, Any], said: dict[str, Any]) -> LocalModel:
    np = numpy()
    table = np.full(2**BITS, -1, dtype=np.int32)
    table[arrays["hashes"]] = np.arange(len(arrays["hashes"]), dtype=np.int32)
    fields = tuple(
        FieldModel(
            name=each["name"],
            values=tuple(each["values"]),
            known=arrays[f"known_{number}"],
            weights=arrays[f"weights_{number}"].astype(np.float32),
            offsets=arrays[f"offsets_{number}"],
            sharpness=each["sharpness"],
        )
        for number, each in enumerate(said["fields"])
    )
    known = None
    if said["keys"] is not None:
        shape = (len(said["keys"]), len(arrays["idf"]) + said["width"])
        data = arrays["row_values"].astype(np.float32), arrays["row_columns"].astype(np.int32), arrays["row_ends"]
        known = KnownRows(
            keys=tuple(said["keys"]),
            digests=arrays["digests"],
            matrix=sparse().csr_matrix(data, shape=shape),
            places=arrays["places"],
        )
    return LocalModel(
        features=Features(table=table, idf=arrays["idf"], pieces=said["pieces"]),
        fields=fields,
        calibration=CalibrationLine(knots=arrays["knots"], shares=arrays["shares"]),
        out_of_fold=OutOfFold(
            confidences=arrays["confidences"],
            right=arrays["right"],
            weights=arrays["row_weights"],
            own=arrays.get("own", np.zeros(0)),  # a model that was kept before it was there has none
            digests=arrays["digests"] if "own" in arrays else np.zeros(0, dtype=np.int64),
        ),
        rows=said["rows"],
        width=said["width"],
        known=known,
    )
