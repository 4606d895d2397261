"""The config of a call: its own values, over those that are bound, over those of the run around it.

LangChain merges configs in several places, and in some of them the values of the surrounding run
take the place of those that are bound. Here the order is always the same. The config that a chain
hands to its steps is a step's own, as in LangChain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    CONFIG_KEYS,
    ensure_config,
    get_config_list,
    merge_configs,
    var_child_runnable_config,
)

ConfigFactory = Callable[[RunnableConfig], RunnableConfig]
"""Makes further values of a config, such as the callbacks of `with_listeners`."""


def merged(
    bound: Mapping[str, Any] | None, given: Mapping[str, Any] | None = None
) -> RunnableConfig:
    """Two configs as one; of a value that both set, the given one counts.

    Nothing of the surrounding run is added; see `within_run`.

    Args:
        bound: The config that is bound to a model.
        given: The config of a call, or one that is bound later.
    """
    old, new = _sorted_keys(bound), _sorted_keys(given)
    both: dict[str, Any] = {**old, **new}
    for name in ("configurable", "metadata"):
        if name in both:
            both[name] = {**old.get(name, {}), **new.get(name, {})}
    if "tags" in both:
        both["tags"] = list(dict.fromkeys([*old.get("tags", ()), *new.get("tags", ())]))
    if "callbacks" in old and "callbacks" in new:
        configs = (RunnableConfig(callbacks=it["callbacks"]) for it in (old, new))
        both["callbacks"] = merge_configs(*configs)["callbacks"]
    return cast("RunnableConfig", both)


def with_factories(config: RunnableConfig, factories: Iterable[ConfigFactory]) -> RunnableConfig:
    """A config with what the factories of a binding make of it."""
    for make in factories:
        config = merged(config, make(ensure_config(within_run(config))))
    return config


def config_for(model: Any, config: RunnableConfig) -> RunnableConfig:
    """The config that is handed to a model.

    What is bound inside of it counts more than the run, so the run is added within it then.
    """
    return config if getattr(model, "merges_configs", False) else within_run(config)


def within_run(config: RunnableConfig | None) -> RunnableConfig:
    """A config with what the surrounding run configures beside it.

    To LangChain, a config with `configurable` hides that of the run, with the run's user.
    """
    own = _sorted_keys(config)
    around = (var_child_runnable_config.get() or {}).get("configurable")
    if around:
        own["configurable"] = {**around, **own.get("configurable", {})}
    return cast("RunnableConfig", own)


def with_full_concurrency(
    config: RunnableConfig | Sequence[RunnableConfig] | None, inputs: Sequence[Any]
) -> list[RunnableConfig]:
    """Configs of a batch with a thread for each input in their pool; a thread here only waits."""
    configs = get_config_list(config, len(inputs))
    for one in configs:
        if one.get("max_concurrency") is None:
            one["max_concurrency"] = len(inputs)
    return configs


def _sorted_keys(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy in which keys that LangChain does not know are configurable, as they are to it."""
    given = {name: value for name, value in (config or {}).items() if value is not None}
    known = {name: value for name, value in given.items() if name in CONFIG_KEYS}
    if others := {name: value for name, value in given.items() if name not in CONFIG_KEYS}:
        known["configurable"] = {**known.get("configurable", {}), **others}
    return known
