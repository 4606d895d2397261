"""What answers in objects, with a config bound around it."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import RunnableBinding, RunnableConfig

from amulet_integrations.langchain.call_config import config_for, merged, with_factories


class ConfiguredOutput(RunnableBinding[LanguageModelInput, Any]):  # type: ignore[no-redef]
    """A binding that merges configs as those of models do.

    It is no model, because its answers are no messages.
    """

    merges_configs: ClassVar[bool] = True

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's own class."""
        return [*cls.get_lc_namespace(), RunnableBinding.__name__]

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`; what an earlier config set is kept."""
        given = {**(config or {}), **kwargs}
        return self.model_copy(update={"config": merged(self.config, given)})

    def _merge_configs(self, *configs: RunnableConfig | None) -> RunnableConfig:
        config = merged(self.config, reduce(merged, configs, RunnableConfig()))
        return config_for(self.bound, with_factories(config, self.config_factories))
