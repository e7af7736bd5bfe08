"""Saliency and Grad-CAM compared with PyTorch's autograd on exported nets."""

import importlib.util
from functools import partial

import numpy as np
import pytest
from exported_models import images, variants

from lenet5c import nn
from lenet5c.export import to_torch, torch_source
from lenet5c.recognition.why import grad_cam, saliency

VARIANTS = variants()


@pytest.fixture
def in_torch(tmp_path, torch):
    """Return a function that loads the exported net of a model, with its preparation."""

    def load(trained):
        (tmp_path / "net.safetensors").write_bytes(to_torch(trained))
        (tmp_path / "net.py").write_text(torch_source(trained, "net.safetensors"), "ascii")
        spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        prepare, preparation = module.prepare, trained.preparation
        if preparation.mean_image is not None:
            prepare = partial(prepare, mean_image=torch.tensor(preparation.mean_image))
        if preparation.fit == "resize":  # by the export's matrices, without its rounding

            def prepare(levels):
                rows, columns = (
                    module.resize_matrix(*pair)
                    for pair in zip(preparation.size, levels.shape[2:], strict=True)
                )
                x = (rows @ levels.double() @ columns.T).float()
                return (x / 255 - preparation.mean) / preparation.std

        return module.load(), prepare

    return load


def backward(torch, trained, net, prepare, image, label, layer=None):
    """Return the gradient by the levels; with a layer, its output and the gradient by it."""
    levels = torch.tensor(image[None].astype(np.float32), requires_grad=True)
    caught = []
    if layer:
        dict(net.named_modules())[layer].register_forward_hook(lambda *a: caught.append(a[2]))
    outputs = net(prepare(levels))
    if caught:
        caught[0].retain_grad()
    sign = -1 if isinstance(trained.model[-1], nn.RBF) else 1
    (sign * outputs[0, label]).backward()
    if layer:
        return caught[0].detach().numpy()[0], caught[0].grad.numpy()[0]
    return levels.grad.numpy()[0]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", VARIANTS)
def test_saliency(torch, in_torch, name):
    trained = VARIANTS[name]
    net, prepare = in_torch(trained)
    image = images(trained, 1)[0]
    for label in (None, 0, len(trained.class_names) - 1):
        number = trained.predict(image[None])[0] if label is None else label
        expected = backward(torch, trained, net, prepare, image, number)
        assert np.abs(expected).max() > 0
        assert_close(saliency(trained, image, label), expected)
        assert_close(saliency(trained, image, label, kind="absolute"), np.abs(expected))


@pytest.mark.parametrize(
    ("name", "layer", "default"),
    [
        ("relu-avg", "act2", True),
        ("relu-avg", "conv1", False),
        ("tanh-max", "pool2", False),
        ("batch-norm-c5-conv", "act2", True),
        ("rgb-3-classes-64", "conv2", True),
        ("1998-rgb-4-classes", "act3", True),
        ("1998", "c3", False),
    ],
)
def test_grad_cam(torch, in_torch, name, layer, default):
    trained = VARIANTS[name]
    net, prepare = in_torch(trained)
    image = images(trained, 1)[0]
    for label in range(2):
        maps, gradient = backward(torch, trained, net, prepare, image, label, layer)
        expected = np.maximum((gradient.mean((1, 2))[:, None, None] * maps).sum(0), 0)
        found = grad_cam(trained, image, label, None if default else layer, enlarge=False)
        assert_close(found, expected)
