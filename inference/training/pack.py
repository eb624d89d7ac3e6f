"""Pack the X-ray sets into one compact file each: `python -m inference.training.pack DATASETS_DIR OUT_DIR`.

Pictures become grey WebP of quality 85 and lie end to end in one byte array with offsets, beside the label columns;
`training.data.load_set` decodes them. A set whose folder is absent is skipped.
"""

import argparse
import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def find(folder, stem):
    """The picture with this stem, whatever its suffix."""
    path = folder / stem
    for suffix in (path.suffix, ".webp", ".png", ".jpeg", ".jpg"):
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    raise FileNotFoundError(path)


def encoded(path):
    """WebP bytes of a picture; WebP files are taken as they are."""
    if path.suffix == ".webp":
        return path.read_bytes()
    buffer = io.BytesIO()
    Image.open(path).convert("L").save(buffer, "WEBP", quality=85, method=4)
    return buffer.getvalue()


def packed(folder, table):
    parts = [encoded(find(folder, row["file"])) for row in table]
    return {
        "image_bytes": np.frombuffer(b"".join(parts), np.uint8),
        "image_offsets": np.cumsum([0] + [len(part) for part in parts]).astype(np.int64),
        "id": np.array([Path(row["file"]).stem for row in table]),
        "label": np.array([row["label"] == "pneumonia" for row in table], np.int8),
        "patient": np.array([row["patient"] for row in table]),
    }


def xray_kermany_pneumonia(folder):
    table = [row for row in rows(folder / "labels.csv") if row["split"] in ("train", "val", "test")]
    return packed(folder, table) | {
        "subtype": np.array([row["subtype"] for row in table]),
        "split": np.array([row["split"] for row in table]),
        "strict": np.array([int(float(row["test_strict"] or 0)) for row in table]),
    }


def xray_nih_external(folder):
    return packed(folder, rows(folder / "labels.csv"))


PACKERS = (xray_kermany_pneumonia, xray_nih_external)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m inference.training.pack", description=__doc__)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for packer in PACKERS:
        folder = options.datasets / packer.__name__
        if folder.is_dir():
            np.savez(options.out / f"{packer.__name__}.npz", **packer(folder))
            print(f"{packer.__name__}: packed")
        else:
            print(f"{packer.__name__}: no such folder, skipped")


if __name__ == "__main__":
    main()
