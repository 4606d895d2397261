"""The house: what importing costs, who may import whom, and which names are public."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import amulet_integrations
from amulet_integrations.installation import install_command

PACKAGE = Path(amulet_integrations.__file__).parent

HEAVY = "torch, transformers, langchain_core, langgraph, llama_index, sqlalchemy, typer"

# Each part with the parts it may import; everybody may import the foundation.
PARTS = {"decoding", "profiles", "prompting", "engine"}
MAY_IMPORT = {
    "decoding": set(),
    "profiles": {"decoding"},
    "prompting": {"decoding"},
    "engine": {"decoding"},
    "explanation": PARTS,
    "personalization": PARTS | {"explanation"},
    "config": PARTS | {"personalization"},
    "registry": PARTS | {"personalization"},
    "client": PARTS | {"explanation", "personalization", "config", "registry"},
    "langchain": PARTS | {"personalization", "client"},
    "llama_index": PARTS | {"personalization", "client"},
    "learning": PARTS,
    "suggesting": PARTS,
    "evaluation": PARTS | {"personalization"},
    "serving": PARTS | {"explanation", "personalization", "client"},
    "cli": PARTS
    | {
        "explanation",
        "personalization",
        "client",
        "langchain",
        "learning",
        "suggesting",
        "evaluation",
        "serving",
    },
}
FORMER = {"fields", "settings", "saved_presets"}  # they forward to where they have moved
FOUNDATION = {
    *(
        "errors",
        "caller_warnings",
        "concurrency",
        "files",
        "html_templates",
        "installation",
        "suggestions",
        "validation",
    ),
    *("_exports", "terminal_text"),
}

# What the adapters and the profiles have no business with.
FORBIDDEN = {
    "profiles": {"torch", "transformers", "langgraph", "langmem", "mem0"},
    "prompting": {"torch", "sqlalchemy"},
    "langchain": {"torch", "transformers", "sqlalchemy", "llama_index"},
    "llama_index": {"torch", "transformers", "sqlalchemy", "langchain_core", "langgraph"},
    "decoding": {"sqlalchemy", "langchain_core", "llama_index"},
    "engine": {"sqlalchemy", "langchain_core", "llama_index"},
    "learning": {"torch", "transformers", "sqlalchemy", "langchain_core", "llama_index"},
    "suggesting": {"torch", "transformers", "sqlalchemy", "langchain_core", "llama_index"},
    "evaluation": {"sqlalchemy", "langchain_core", "llama_index"},
}

PUBLIC = {
    "amulet_integrations": {
        "AmuletParams",
        "InMemoryProfileStore",
        "Preference",
        "PreferenceGate",
        "PreferenceProfile",
        "ProfileLimits",
        "SamplingParams",
        "SqlProfileStore",
        "errors",
        "preference_scope",
    },
    "amulet_integrations.decoding": {
        "AmuletLogitsProcessor",
        "amulet_policy",
        "amulet_weights",
        "ftrl_policy",
        "linear_alignment_weights",
    },
    "amulet_integrations.engine": {
        "GenerationRequest",
        "LlamaCppOptions",
        "LocalEngine",
        "estimate_memory",
    },
    "amulet_integrations.explanation": {"ExplainedToken", "Explanation"},
    "amulet_integrations.evaluation": {
        "Answer",
        "Evaluation",
        "Method",
        "Preference",
        "Question",
        "Scorer",
        "StrengthPoint",
        "Sweep",
        "evaluate",
        "read_methods",
        "read_preferences",
        "read_questions",
        "sweep",
    },
    "amulet_integrations.langchain": {
        "ChatAmulet",
        "LangGraphProfileStore",
        "PreferenceMiddleware",
        "forget_preference",
        "remember_preference",
    },
    "amulet_integrations.learning": {
        "Example",
        "PreferenceRanking",
        "StrengthEstimate",
        "estimate_strength",
        "rank_preferences",
        "read_examples",
    },
    "amulet_integrations.llama_index": {"AmuletLLM", "KVProfileStore"},
    "amulet_integrations.profiles": {
        "Contradiction",
        "ForeignMemory",
        "ImportReport",
        "find_contradictions",
        "import_langmem",
        "import_mem0",
        "import_plain_text",
    },
    "amulet_integrations.suggesting": {
        "SuggestedPreference",
        "Suggestions",
        "accept_suggestions",
        "suggest_preferences",
    },
    "amulet_integrations.serving": {
        "Access",
        "Caller",
        "ProfileService",
        "ServerSettings",
        "add_profile_routes",
        "create_app",
        "create_profiles_app",
        "run_server",
    },
}


def imports_of(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def files_of(part: str) -> list[Path]:
    folder = PACKAGE / part
    return list(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, amulet_integrations as a; dir(a); a.errors.AmuletError; print([m for m in '{HEAVY}'.split(', ') if m in sys.modules])"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_profiles_and_parameters_need_no_torch():
    code = "import sys; from amulet_integrations import AmuletParams, SamplingParams, PreferenceProfile; print('torch' in sys.modules, AmuletParams().guidance_scale > 5)"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False True"


def test_an_evaluation_is_prepared_without_torch():
    code = "import sys; import amulet_integrations.evaluation as e; e.evaluate, e.Evaluation; e.read_preferences(['creative']); e.read_methods(['amulet']); print([m for m in ('torch', 'transformers', 'langchain_core', 'matplotlib', 'datasets') if m in sys.modules])"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["langchain.ChatAmulet", "llama_index.AmuletLLM"])
def test_a_wrapper_is_imported_and_made_without_torch(name):
    """They take seconds to import, so they wait until a model is loaded."""
    module, made = name.split(".")
    use = {"ChatAmulet": "bind_tools([]).bound.profile", "AmuletLLM": "metadata"}[made]
    code = f"import sys; from amulet_integrations.{module} import {made}; llm = {made}(preference='Be brief.'); llm.for_user, llm.context_window, llm.plain(), repr(llm), llm.{use}; print([m for m in ('torch', 'transformers', 'sqlalchemy', 'langgraph') if m in sys.modules])"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    framework = ["sqlalchemy"] if module == "llama_index" else []  # LlamaIndex's own
    assert ran.stdout.strip() == repr(framework)


def test_the_chat_model_needs_neither_langchain_nor_langgraph():
    code = "import sys; sys.modules['langchain'] = sys.modules['langgraph'] = None; from amulet_integrations.langchain import ChatAmulet; print(ChatAmulet.__name__)"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "ChatAmulet"


IMPORTS_WITHOUT = """
import sys
import amulet_integrations.langchain as ours
from amulet_integrations.errors import MissingDependencyError

for name, missing in {cases}:
    hidden = {{m: sys.modules.pop(m) for m in list(sys.modules) if m.split(".")[0] == missing}}
    sys.modules[missing] = None
    try:
        getattr(ours, name)
        print("nothing is missing")
    except MissingDependencyError as error:
        print(error)
    del sys.modules[missing]
    sys.modules.update(hidden)
"""


def test_what_agents_need_is_named_with_the_line_that_installs_it():
    cases = [
        ("PreferenceMiddleware", "langchain"),
        ("PreferenceMiddleware", "langgraph"),
        ("remember_preference", "langgraph"),
        ("LangGraphProfileStore", "langgraph"),
    ]
    code = IMPORTS_WITHOUT.format(cases=cases)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = ran.stdout.splitlines()
    assert len(told) == len(cases)
    for (_, missing), line in zip(cases, told, strict=True):
        assert line.startswith(f"{missing} is not installed.")
        assert install_command("agents") in line


def test_every_part_of_the_package_is_in_the_picture():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    known = {"__init__", "__main__", "__pycache__", "py"} | FOUNDATION | FORMER
    assert parts - known == MAY_IMPORT.keys()


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_down(part):
    for file in files_of(part):
        for name in imports_of(file):
            top, _, rest = name.partition(".")
            assert top not in FORBIDDEN.get(part, ()), f"{file} imports {name}"
            if top == "amulet_integrations" and rest:
                used = rest.split(".")[0]
                assert used in MAY_IMPORT[part] | FOUNDATION | {part}, f"{file} imports {name}"


# Which backend computes the logits is known to nobody in the engine but to those who load it.
KNOW_THE_BACKEND = (
    *("backends/", "gguf/", "vllm/", "local_engine.py", "model_source.py", "__init__.py"),
    "encoders/",  # are no backends, and are loaded with the checks of one
)


def test_the_engine_knows_its_backend_by_the_protocol_only():
    checked = 0
    for file in files_of("engine"):
        if file.relative_to(PACKAGE / "engine").as_posix().startswith(KNOW_THE_BACKEND):
            continue
        checked += 1
        backends = {
            name
            for name in imports_of(file)
            if name.startswith("amulet_integrations.engine.backends")
        }
        assert backends <= {"amulet_integrations.engine.backends.base"}, file
    assert checked > 20


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there(module):
    import importlib

    package = importlib.import_module(module)
    assert set(package.__all__) >= PUBLIC[module]
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


def test_what_type_checkers_see_is_what_is_exported():
    for file in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(file.read_text())
        seen = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and "_exports" not in (node.module or "")
            for alias in node.names
        }
        seen |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        exported = {
            element.value
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
            for element in node.value.elts
        }
        assert exported <= seen, f"{file}: {exported - seen}"


@pytest.mark.parametrize("root", ["amulet_integrations", "tests", "benchmarks"])
def test_rooms_are_small_enough_to_look_over(root):
    folders = [path for path in (PACKAGE.parent / root).rglob("*") if path.is_dir()]
    counts = {folder: len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert not {folder: count for folder, count in counts.items() if count > 18}


def test_a_file_name_stands_for_one_thing():
    # Both wrappers have their own form of each of these, and of nothing else.
    of_each_wrapper = {"messages.py", "streaming.py", "structured.py", "tools.py"}
    files = [path for path in PACKAGE.rglob("[!_]*.py") if "forward_module" not in path.read_text()]
    names = [path.name for path in files]
    repeated = {name for name in names if names.count(name) > 1}
    # A protocol, in the folder of what keeps it; and what each backend has.
    assert repeated - of_each_wrapper <= {"base.py", "backend.py"}


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("amulet_integrations.fields", "AmuletFields"),
        ("amulet_integrations.settings", "AmuletSettings"),
        ("amulet_integrations.saved_presets", "find_preset"),
        ("amulet_integrations.engine.embedded", "embedded_model_path"),
        ("amulet_integrations.engine", "Branch"),
        ("amulet_integrations.profiles", "in_force"),
    ],
)
def test_a_former_name_works_and_warns(former, name):
    module = importlib.import_module(former)
    with pytest.warns(DeprecationWarning, match=name):
        assert callable(getattr(module, name))
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(module, "nonsense")  # noqa: B009
