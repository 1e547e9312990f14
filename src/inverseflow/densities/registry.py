"""The ready-made densities by name."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, get_args, get_type_hints

from inverseflow.densities.density import Density, DensityT
from inverseflow.utils.arguments import builtin_numbers

_DENSITIES: dict[str, type[Density]] = {}


def register(name: str) -> Callable[[type[DensityT]], type[DensityT]]:
    """Enter a density into the registry and make it remember its constructor's arguments, so that it can be saved.

    The arguments must be what JSON can hold: numbers, strings, booleans, None, and sequences of them. Numbers of NumPy
    reach the constructor as Python's own. An unknown option is refused with the list of the options.

    Args:
        name: the name for `create`, saved configurations and the command line.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> from inverseflow.bijections import ActNorm
        >>> from inverseflow.flows import Flow
        >>> @register("normal")
        ... class Normal(Flow):
        ...     def __init__(self, event_shape):
        ...         super().__init__(ActNorm(event_shape[0]), event_shape)
        >>> create("normal", (3,)).config
        {'density': 'normal', 'options': {'event_shape': (3,)}}
    """

    def enter(cls: type[DensityT]) -> type[DensityT]:
        if name in _DENSITIES:
            raise ValueError(f"the name {name!r} already belongs to {_DENSITIES[name].__name__}")
        original = cls.__init__
        signature = inspect.signature(original)
        variable = {key for key, value in signature.parameters.items() if value.kind is value.VAR_KEYWORD}

        @wraps(original)
        def remember(self: Density, /, *args: Any, **kwargs: Any) -> None:
            args, kwargs = builtin_numbers(args), {option: builtin_numbers(value) for option, value in kwargs.items()}
            if refusal := _refusal(cls.__name__, cls, kwargs):
                raise TypeError(refusal)
            original(self, *args, **kwargs)
            if type(self) is cls:
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                options = {option: builtin_numbers(value) for option, value in list(bound.arguments.items())[1:]}
                for option in options.keys() & variable:  # **options stand in kwargs one by one
                    del options[option]
                self.config = {"density": name, "options": {**options, **kwargs, **self.resolved_options}}

        cls.__init__ = remember  # type: ignore[method-assign, assignment]
        _DENSITIES[name] = cls
        return cls

    return enter


def names(kind: type[Density] = Density) -> list[str]:
    """Return the names of all registered densities of a class and its subclasses."""
    return sorted(name for name, cls in _DENSITIES.items() if issubclass(cls, kind))


def density_class(name: str, kind: type[DensityT] = Density) -> type[DensityT]:  # type: ignore[assignment]
    """Return the class of a registered density of a kind.

    Raises:
        ValueError: if the name is unknown; the message lists the names.
    """
    cls = _DENSITIES.get(name)
    if cls is not None and not issubclass(cls, kind):
        raise ValueError(f"{name!r} is no {kind.__name__.lower()} but another density: build it by densities.create")
    if cls is None:
        raise ValueError(f"unknown {kind.__name__.lower()} {name!r}: choose one of {', '.join(names(kind))}")
    return cls


def create(name: str, event_shape: Sequence[int], **options: Any) -> Density:
    """Build a registered density.

    Args:
        name: one of `names`.
        event_shape: the shape of one datum, ``(C, H, W)`` for images.
        options: the density's other arguments.

    Raises:
        ValueError: if the name is unknown, or the density has no such option.

    Example:
        >>> create("glow", (1, 8, 8), levels=17, scales=1, steps=1, width=8).dims
        64
    """
    cls: type[Density] = density_class(name)
    if refusal := _refusal(repr(name), cls, options):
        raise ValueError(refusal)
    build: Callable[..., Density] = cls
    return build(event_shape, **options)


def option_names(name: str) -> list[str] | None:
    """Return the names of the options of a registered density, None if it takes any; errors as for `density_class`.

    Example:
        >>> option_names("made")[:2]
        ['levels', 'width']
    """
    return _option_names(density_class(name))


def _option_names(cls: type[Density]) -> list[str] | None:
    known: list[str] = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            known.append(name)
        elif unpacked := get_args(get_type_hints(cls.__init__).get(name)):  # **options: Unpack[SomeTypedDict]
            known += get_type_hints(unpacked[0])
        else:
            return None
    return [name for name in known if name != "event_shape"]


def _refusal(called: str, cls: type[Density], options: dict[str, Any]) -> str | None:
    """Return the sentence that refuses options which a class does not have, None if it has them all."""
    known = _option_names(cls) if options else None
    unknown = [] if known is None else [option for option in options if option not in ("event_shape", *known)]
    return f"{called} has no option {', '.join(unknown)}; it has {', '.join(known or ())}" if unknown else None
