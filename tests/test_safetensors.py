"""The safetensors format, compared with the package of that name, and malicious files."""

import json

import numpy as np
import pytest

from lenet5c._files import safetensors as ours

safetensors = pytest.importorskip("safetensors.numpy")

DTYPES = ["<u8", "<i8", "<f8", "<f4", "<u4", "<i4", "<f2", "<u2", "<i2", "|i1", "|u1", "|b1"]
MAX_HEADER = 2**20


def draw(rng, dtype):
    shape = tuple(rng.integers(0, 4, rng.integers(0, 5)).tolist())
    return rng.integers(0, 2, shape).astype(dtype)


def unpack(content):
    tensors, metadata = ours.unpack(content, MAX_HEADER)
    return {name: tensor.to_array() for name, tensor in tensors.items()}, metadata


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def build(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(1,), data_offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(data_offsets)}


@pytest.mark.parametrize("seed", range(4))
def test_bytes_and_arrays_are_those_of_safetensors(seed):
    rng = np.random.default_rng(seed)
    tensors = {f"{dtype[1:]}.{n}": draw(rng, dtype) for n in range(3) for dtype in DTYPES}
    tensors = {name: tensors[name] for name in rng.permutation(sorted(tensors)).tolist()}
    metadata = {"lenet5c": 'a "text"\nwith \\ and ü \x00 \x1f'}
    content = ours.pack(tensors, metadata)
    assert content == safetensors.save(tensors, metadata)
    found, read = unpack(content)
    assert read == metadata
    assert_same(found, tensors)
    assert_same(found, safetensors.load(content))


def test_without_tensors_or_metadata():
    for tensors in {}, {"a": np.ones((2, 0), np.float32)}:
        content = ours.pack(tensors, {})
        assert content == safetensors.save(tensors)
        found, metadata = unpack(content)
        assert_same(found, tensors)
        assert metadata == {}


def test_order_of_memory_and_of_bytes_do_not_matter():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = safetensors.save({"a": array})
    assert ours.pack({"a": np.asfortranarray(array)}, {}) == expected
    assert ours.pack({"a": array.astype(">f4")}, {}) == expected


def test_types_that_numpy_lacks_are_read_as_bytes():
    content = build({"a": entry("BF16", [2])}, b"\x01\x02\x03\x04")
    (tensor,) = ours.unpack(content, MAX_HEADER)[0].values()
    assert (tensor.dtype, tensor.shape, bytes(tensor.data)) == ("BF16", (2,), b"\x01\x02\x03\x04")
    with pytest.raises(ValueError, match="a tensor of type BF16"):
        tensor.to_array()


HOSTILE = {
    "empty": (b"", "a header of 0 bytes"),
    "short": (b"\x00\x00\x00", "a header of 0 bytes"),
    "length": (build({}, length=3000), "a header of 3,000 bytes"),
    "largest": (b"\xff" * 16, "a header of 18,446,744,073,709,551,615 bytes"),
    "long": (build(b"{}" + b" " * MAX_HEADER), "a header of 1,048,578 bytes"),
    "text": (build(b"no JSON"), "Expecting value"),
    "encoding": (build(b'{"\xff": 1}'), "codec can't decode"),
    "nested": (build(b"[" * 100_000), "nested too deeply"),
    "digits": (build(b'{"a": ' + b"9" * 5000 + b"}"), "digits"),
    "list": (build([]), "a header that is not an object"),
    "metadata": (build({"__metadata__": {"a": 1}}), "metadata that are not strings"),
    "twice": (build(b'{"a": 1, "a": 2}'), "duplicate name"),
    "number": (build({"a": 1}), "invalid entry of tensor 'a': 1"),
    "type": (build({"a": entry("F31")}, b"0000"), "invalid entry of tensor 'a'"),
    "bits": (build({"a": entry("F4")}, b"0000"), "invalid entry of tensor 'a'"),
    "shape": (build({"a": entry(shape=[2])}, b"0000"), "invalid entry of tensor 'a'"),
    "negative": (build({"a": entry(shape=[-1, -1])}, b"0000"), "invalid entry of tensor 'a'"),
    "float": (build({"a": entry(shape=[1.0])}, b"0000"), "invalid entry of tensor 'a'"),
    "truth": (build({"a": entry(shape=[True])}, b"0000"), "invalid entry of tensor 'a'"),
    "axes": (build({"a": entry(shape=[1] * 65)}, b"0000"), "invalid entry of tensor 'a'"),
    "product": (build({"a": entry(shape=[2**63, 2**63])}, b"0000"), "invalid entry of tensor 'a'"),
    "offsets": (
        build({"a": entry(data_offsets=[0, 4, 8])}, b"0000"),
        "invalid entry of tensor 'a'",
    ),
    "backwards": (build({"a": entry(data_offsets=[4, 0])}, b"0000"), "invalid entry of tensor 'a'"),
    "end": (build({"a": entry()}, b"000"), "invalid entry of tensor 'a'"),
    "gap": (build({"a": entry(data_offsets=[4, 8])}, b"0" * 8), "must begin at byte 0, got 4"),
    "shared": (build({"a": entry(), "b": entry()}, b"0000"), "must begin at byte 4, got 0"),
    "rest": (build({"a": entry()}, b"00000"), "must have 4 bytes, got 5"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_a_value_error(name):
    content, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message):
        unpack(content)


def test_shape_that_numpy_lacks_is_a_value_error():
    content = build({"a": entry(shape=[0, 2**40, 2**40], data_offsets=[0, 0])})
    with pytest.raises(ValueError, match="too big"):
        unpack(content)
    assert list(ours.unpack(content, MAX_HEADER)[0]) == ["a"]
