"""Options of all nets as settings of recipes and commands."""

from typing import Any

from lenet5c.nn import NETS
from lenet5c.nn.options import Option
from lenet5c.recipes.setting import NET, Setting, in_words


def net_options(net: Any) -> dict[str, Option]:
    """Return the options of a net that are not determined by the data, by name.

    A net described layer by layer has none.
    """
    if isinstance(net, dict):
        return {}
    options: dict[str, Option] = NETS[net].options
    return {name: option for name, option in options.items() if not option.of_data}


def _describe(name: str) -> Setting:
    """Return the setting of an option, as declared by the first net that has it.

    Its description mentions different declarations of other nets.
    """
    owners = {net: options[name] for net in NETS if name in (options := net_options(net))}
    first, *others = owners
    option = owners[first]
    help = "; ".join(
        [option.help]
        + [
            f"{net}: {owners[net].help}, {', '.join(owners[net].kind.choices)}"
            for net in others
            if owners[net].help != option.help
        ]
    )
    default_text = option.default_text or in_words(option.default)
    differing = [
        f"{in_words(owners[net].default)} with {net}"
        for net in others
        if owners[net].default != option.default and owners[net].help == option.help
    ]
    return Setting(option.kind, help, NET, "; ".join([default_text, *differing]))


#: Options of nets, stored in the field `model` of a recipe.
NET_SETTINGS = {
    name: _describe(name)
    for name in dict.fromkeys(name for net in NETS for name in net_options(net))
}
