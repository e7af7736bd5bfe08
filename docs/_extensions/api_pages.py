"""Write a page with a table of all public names for each public package, into docs/reference.

autosummary makes a page of each name from there. What is listed is `__all__`, so no page has to be
kept up to date.
"""

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sphinx import addnodes
from sphinx.util.inspect import signature as get_signature
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode

# Packages that may be there, in the order of the list; those without `__all__` with their public
# names.
PACKAGES = {
    "lenet5c": (),
    "lenet5c.kernels": (),
    "lenet5c.nn": (),
    "lenet5c.nn.initialize": (
        "he_normal",
        "he_uniform",
        "glorot_normal",
        "glorot_uniform",
        "lecun_normal",
        "lecun_uniform",
        "normal",
        "uniform",
        "fan_in_uniform",
        "constant",
    ),
    "lenet5c.optim": (),
    "lenet5c.datasets": (),
    "lenet5c.datasets.corruptions": ("CORRUPTIONS", "corrupt"),
    "lenet5c.training": (),
    "lenet5c.recipes": ("Recipe", "Run", "RunConfig", "reached", "recipe", "reported", "train"),
    "lenet5c.reproduction": (),
    "lenet5c.export": (),
    "lenet5c.recognition": (),
    "lenet5c.reference": (),
    "lenet5c.report.pictures": (),
    "lenet5c.sklearn": (),
    "lenet5c.errors": ("UserError", "MissingExtraError"),
}
# Values have no docstring.
VALUES = {
    "lenet5c.kernels.isa": "str : the instruction set of the tile kernels, chosen at import: "
    "'avx512', 'avx2' or 'baseline' on x86-64, 'baseline' elsewhere.",
    "lenet5c.datasets.corruptions.CORRUPTIONS": "tuple of str : the names of the 15 kinds.",
    "lenet5c.nn.ACTIVATIONS": "dict : classes of activations by the names that recipes use.",
    "lenet5c.nn.C5_FORMS": "tuple of str : forms of the layer of 120 units of `LeNet5`.",
    "lenet5c.nn.LOSSES": "dict : classes of losses by the names that recipes use.",
    "lenet5c.nn.NETS": "dict : classes of nets by the names that recipes use.",
    "lenet5c.nn.POOLINGS": "dict : classes of poolings by the names that recipes use.",
    "lenet5c.optim.OPTIMIZERS": "dict : an `OptimizerChoice` for each name that recipes use.",
    "lenet5c.optim.SCHEDULES": "dict : classes of schedules by the names that recipes use.",
}

PUBLIC = set()  # all listed classes


def public_names(package):
    """Return the documented names of a package: none if it is not there."""
    if find_spec(package) is None:
        return []
    module = import_module(package)
    names = PACKAGES[package] or getattr(module, "__all__", ())
    return [
        name
        for name in names
        if name != "__version__" and not isinstance(getattr(module, name), ModuleType)
    ]


def write_pages(app, config):
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    listed = {}
    for package in PACKAGES:
        if names := public_names(package):
            PUBLIC.update(
                value
                for name in names
                if isinstance(value := getattr(import_module(package), name), type)
            )
            listed[package] = names
            put(folder / f"{package}.rst", page(package, names))
    config.autosummary_context = {
        "derived": set().union(*(derived(*pair) for pair in listed.items()))
    }


def page(package, names):
    values = [name for name in names if f"{package}.{name}" in VALUES]
    listed = sorted(set(names) - set(values), key=lambda name: (name.islower(), name))
    lines = [
        package,
        "=" * len(package),
        "",
        f".. automodule:: {package}",
        "",
        f".. currentmodule:: {package}",
        "",
    ]
    lines += [
        ".. autosummary::",
        "   :toctree: names",
        "   :nosignatures:",
        "",
        *(f"   {name}" for name in listed),
        "",
    ]
    for name in values:
        lines += [f".. py:data:: {name}", "", f"   {VALUES[f'{package}.{name}']}", ""]
    return "\n".join(lines)


def derived(package, names):
    """Return the classes that have a public class, or an exception, among their bases."""
    classes = [(name, getattr(import_module(package), name)) for name in names]
    return {
        f"{package}.{name}"
        for name, each in classes
        if isinstance(each, type) and public_bases(each)
    }


def public_bases(each):
    """Return the nearest public ancestors of a class."""
    found = []
    for base in each.__bases__:
        public = base.__module__ == "builtins" or base in PUBLIC
        found += [base] if public and base is not object else public_bases(base)
    return found


def show_public_bases(app, name, each, options, bases):
    bases[:] = public_bases(each)


def show_signature(app, what, name, each, options, signature, returns):
    """Return the signature of a layer's `__init__`; autodoc looks at `Layer.__new__`."""
    if what == "class" and signature == "(*args, **kwargs)":
        if each.__init__ is object.__init__:
            return "()", returns
        return stringify_signature(
            get_signature(each.__init__, bound_method=True), show_annotation=False
        ), returns
    return None


def skip_member(app, what, name, member, skip, options):
    """Leave out what a class has from another library: it is documented there."""
    function = getattr(member, "fget", None) or member
    module = getattr(function, "__module__", None) or "lenet5c"
    return True if not module.startswith("lenet5c") else None


def drop_toctree(app, doctree):
    """Keep the pages of names out of the sidebar, which every page repeats; tables list them."""
    if app.env.docname.startswith("reference/generated/lenet5c"):
        for node in list(doctree.findall(addnodes.toctree)):
            node.parent.remove(node)


def exists(name):
    """Return whether a dotted name is a module, or something within one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        with suppress(ImportError):
            found = import_module(".".join(parts[:count]))
            with suppress(AttributeError):
                for part in parts[count:]:
                    found = getattr(found, part)
                return True
            return False
    return False


def resolve(app, env, node, content):
    """Resolve a name in single backticks: a member of the class, or the public object of that name.

    Else it is a parameter, or something of another library, and stays as it is. A name that begins
    with lenet5c must exist, though it need not be public.
    """
    target = node["reftarget"]
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    if target.startswith("lenet5c."):
        return content if exists(target) else None
    domain = env.get_domain("py")
    found = [name for name in domain.objects if name.endswith(f".{target}")]
    here = f"{node.get('py:module')}.{node.get('py:class')}"
    near = [name for name in found if name == f"{here}.{target}"] or [
        name for name in found if name.startswith(here)
    ]
    near = near or [name for name in found if name == f"lenet5c.nn.Layer.{target}"] or found
    if len(near) != 1:
        return content
    return make_refnode(
        app.builder,
        node["refdoc"],
        domain.objects[near[0]].docname,
        domain.objects[near[0]].node_id,
        content,
        near[0],
    )


def put(path, text):
    """Write, unless it is there: an unchanged file need not be read again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("config-inited", write_pages)
    app.connect("doctree-read", drop_toctree, priority=100)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
