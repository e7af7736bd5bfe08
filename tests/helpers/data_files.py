"""Small data sets in common file formats."""

import gzip
import io
import json

import numpy as np


def make_digits(count=40, side=8, classes=4, seed=0):
    """Images uint8 (N, side, side) that differ by class, with blank corners, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = np.zeros((count, side, side), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[1:-1, 1 + label : 3 + label] = rng.integers(100, 256, (side - 2, 2))
    return images, labels


def make_table(images, labels=None, header=None, separator=",", last=False, end="\n"):
    """Return a table of text, with the label before or after the pixels."""
    lines = [] if header is None else [separator.join(header)]
    for i, image in enumerate(images):
        fields = list(map(str, image.ravel().tolist()))
        if labels is not None:
            fields.insert(len(fields) if last else 0, str(labels[i]))
        lines.append(separator.join(fields))
    return end.join(lines) + end


def name_pixels(count, before=("label",), prefix="pixel"):
    """Return names of columns."""
    return [*before, *(f"{prefix}{i}" for i in range(count))]


def write(path, content):
    """Write text or bytes, gzipped if the name says so; return the path."""
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def encode_png(image):
    """Return the PNG file of an image (H, W) or (H, W, 3)."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def write_parquet(path, columns, class_names=None):
    """Write a Parquet file of lists of values; return its path.

    Names of classes go into the metadata, as data hubs have them.
    """
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if class_names is not None:
        feature = {"names": class_names, "_type": "ClassLabel"}
        text = json.dumps({"info": {"features": {"label": feature}}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=16)
    return path
