"""Python types as schemas: what is asked for, what comes back, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import json
import pathlib
import typing
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Optional,
    Required,
    TypeVar,
    Union,
)

import pytest
import typing_extensions
from jsonschema import Draft202012Validator
from langchain_core.exceptions import OutputParserException
from langchain_core.tools import InjectedToolArg, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import ReadOnly

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.langchain.tools import to_json_schema
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_engine
from tests.unit.langchain.structured.test_schemas import asked

T = TypeVar("T")
METHODS = ["json_schema", "json_mode", "function_calling"]


class Mood(enum.Enum):
    CALM = "calm"
    WILD = "wild"


# typing's TypedDicts, which pydantic refuses before Python 3.12, and none has a docstring.


class Place(typing.TypedDict):
    city: str
    code: NotRequired[int]


class Partial(typing.TypedDict, total=False):
    name: Required[str]
    age: int


class Child(Partial):
    born: dt.date
    at: Place
    moods: list[Mood]


class Box(typing.TypedDict, Generic[T]):
    item: T
    more: NotRequired[list[Box[T]]]


class IntBox(Box[int]):
    note: str


class Extended(typing_extensions.TypedDict, total=False):
    id: Required[ReadOnly[int]]
    places: list[Place]
    tags: set[str]


class Tagged(typing_extensions.TypedDict):
    tags: set[str]
    note: NotRequired[str]


class Described(typing.TypedDict):
    """A joke.

    Args:
        laughs: How many laughed,
            in the hall.
    """

    setup: Annotated[str, ..., "The first line"]
    rating: Annotated[Optional[int], None, "How good it is"]  # noqa: UP045 - LangChain's form
    lines: Annotated[int, 2, "How long it is"]
    tone: Annotated[str, "The tone"]
    laughs: Annotated[int, Field(ge=3)]
    end: NotRequired[Annotated[str, Field(description="The last line", max_length=9)]]


class Point(NamedTuple):
    x: int
    y: int = 2


class Labelled(NamedTuple):
    """A point with a name."""

    point: Point
    name: str
    place: Place | None = None


@dataclasses.dataclass
class Line:
    """A line.

    Attributes:
        start: Where it begins.
    """

    start: Point
    mood: Mood
    tags: set[str] = dataclasses.field(default_factory=set)
    next: Optional[Line] = None  # noqa: UP045


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


@pydantic_dataclass
class Checked:
    n: int = Field(ge=5)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    day: dt.date
    at: tuple[int, int]


# Types of `typing` inside of others, which pydantic refuses before Python 3.12.
Somewhere = typing_extensions.TypeAliasType("Somewhere", "Place | None")
Many = typing_extensions.TypeAliasType("Many", list[T], type_params=(T,))
Nested = typing_extensions.TypeAliasType("Nested", "Place | list[Nested]")
Home = typing.NewType("Home", Place)  # type: ignore[valid-newtype]


class Stop(NamedTuple):
    place: Place
    minutes: int = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Trip:
    """A trip.

    Args:
        first: Where it begins.
    """

    first: Place
    stops: list[Stop]
    then: Somewhere = None
    later: Optional[Trip] = None  # noqa: UP045
    others: Many[Home] = dataclasses.field(default_factory=list)
    nested: Nested | None = None

    def __post_init__(self) -> None:
        if self.first["city"] == "Nowhere":
            raise ValueError("There is no way there.")


@dataclasses.dataclass
class Counted:
    places: dict[str, Place]
    half: dataclasses.InitVar[int] = 2
    n: int = dataclasses.field(default=0, init=False)
    kinds: ClassVar[list[Place]] = []
    many: int = Field(default=7, ge=3)

    def __post_init__(self, half: int) -> None:
        self.n = len(self.places) // half


class Journey(BaseModel):
    model_config = ConfigDict(strict=True)

    start: Point
    ends: list[Point] = []


ROME: Any = {"city": "Rome"}
TRIP = {
    "first": ROME,
    "stops": [{"place": ROME}],
    "then": ROME,
    "later": {"first": ROME, "stops": []},
    "others": [ROME],
    "nested": [[ROME], ROME],
}
BORN = dt.date(2020, 2, 29)
# Each type, what a model writes, and what that is.
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "typed dict": (Place, {"city": "Rome"}, {"city": "Rome"}),
    "all but one optional": (Partial, {"name": "Ann"}, {"name": "Ann"}),
    "inherited and nested": (
        Child,
        {"name": "Ann", "born": "2020-02-29", "at": {"city": "Rome"}, "moods": ["calm"]},
        {"name": "Ann", "born": BORN, "at": {"city": "Rome"}, "moods": [Mood.CALM]},
    ),
    "generic": (
        Box[int],
        {"item": 1, "more": [{"item": 2}]},
        {"item": 1, "more": [{"item": 2}]},
    ),
    "of a generic": (IntBox, {"item": 1, "note": "x"}, {"item": 1, "note": "x"}),
    "of typing_extensions": (Extended, {"id": 1, "tags": ["a", "a"]}, {"id": 1, "tags": {"a"}}),
    "described": (
        Described,
        {"setup": "A", "tone": "dry", "laughs": 3},
        {"setup": "A", "tone": "dry", "laughs": 3},
    ),
    "named tuple": (Point, {"x": 1}, Point(1, 2)),
    "nested named tuple": (
        Labelled,
        {"point": {"x": 1, "y": 5}, "name": "a", "place": {"city": "Rome"}},
        Labelled(Point(1, 5), "a", {"city": "Rome"}),
    ),
    "dataclass": (
        Line,
        {"start": {"x": 1}, "mood": "wild", "next": {"start": {"x": 2}, "mood": "calm"}},
        Line(Point(1), Mood.WILD, next=Line(Point(2), Mood.CALM)),
    ),
    "dataclass of typed dicts": (
        Trip,
        TRIP,
        Trip(ROME, [Stop(ROME)], ROME, Trip(ROME, []), others=[Home(ROME)], nested=[[ROME], ROME]),
    ),
    "dataclass with fields of all kinds": (
        Counted,
        {"places": {"a": ROME, "b": ROME}, "many": 4},
        Counted({"a": ROME, "b": ROME}, many=4),
    ),
    "generic dataclass of a typed dict": (
        Pair[Place],
        {"left": ROME, "right": ROME},
        Pair(ROME, ROME),
    ),
    "model of named tuples": (
        Journey,
        {"start": {"x": 1}, "ends": [{"x": 2, "y": 3}]},
        Journey(start=Point(1), ends=[Point(2, 3)]),
    ),
    "generic dataclass": (Pair[int], {"left": 1, "right": 2}, Pair(1, 2)),
    "pydantic's dataclass": (Checked, {"n": 5}, Checked(5)),
    "strict model": (
        Strict,
        {"day": "2020-02-29", "at": [1, 2]},
        Strict(day=BORN, at=(1, 2)),
    ),
}


def writing(name: str, value: Any, method: str) -> ChatAmulet:
    text = json.dumps(value)
    if method == "function_calling":
        text = f'<tool_call>\n{{"name": "{name}", "arguments": {text}}}\n</tool_call>'
    return ChatAmulet(engine=ScriptedEngine(list(text)))


def tool_name(schema: Any) -> str:
    return "Box_int_" if schema == Box[int] else str(schema.__name__)


def same(found: Any, wanted: Any) -> bool:
    return type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TYPES)
async def test_answers_are_values_of_their_type(name: str, method: str) -> None:
    schema, written, wanted = TYPES[name]
    options: dict[str, Any] = {"method": method}
    model = writing(tool_name(schema), written, method)
    llm = model.with_structured_output(schema, **options)
    assert same(llm.invoke("x"), wanted)
    assert same(await llm.ainvoke("x"), wanted)
    parts = list(llm.stream("x"))
    assert same(parts[-1], wanted)
    if isinstance(wanted, dict):
        assert len(parts) > 1
        assert all(isinstance(part, dict) for part in parts)
    raw = model.with_structured_output(schema, include_raw=True, **options).invoke("x")
    assert same(raw["parsed"], wanted)
    assert raw["parsing_error"] is None


@pytest.mark.parametrize("schema", [Checked, Described, Strict], ids=lambda it: it.__name__)
def test_what_a_type_refuses_is_a_parsing_error(schema: Any) -> None:
    wrong = {"n": 4, "setup": "A", "tone": "dry", "laughs": 1, "day": "x", "at": [1]}
    llm = writing("x", wrong, "json_schema")
    with pytest.raises(OutputParserException, match=f"no {schema.__name__}"):
        llm.with_structured_output(schema).invoke("x")
    found = llm.with_structured_output(schema, include_raw=True).invoke("x")
    assert isinstance(found["parsing_error"], OutputParserException)


class Numbered(BaseModel):
    numbers: list[int] = Field(json_schema_extra={"uniqueItems": True})


@pytest.mark.parametrize("method", METHODS)
def test_what_only_the_schema_of_a_type_says_is_checked_too(method: str) -> None:
    options: dict[str, Any] = {"method": method}
    good = writing("Numbered", {"numbers": [1, 2]}, method)
    assert good.with_structured_output(Numbered, **options).invoke("x") == Numbered(numbers=[1, 2])
    bad = writing("Numbered", {"numbers": [1, 1]}, method)
    with pytest.raises(OutputParserException, match="unique"):
        bad.with_structured_output(Numbered, **options).invoke("x")
    with pytest.raises(OutputParserException, match=r"unique|fail its schema"):
        list(bad.with_structured_output(Numbered, **options).stream("x"))


REQUIRED: dict[str, tuple[Any, set[str]]] = {
    "typed dict": (Place, {"city"}),
    "not total": (Partial, {"name"}),
    "inherited": (Child, {"name", "born", "at", "moods"}),
    "generic": (Box[str], {"item"}),
    "of typing_extensions": (Extended, {"id"}),
    "described": (Described, {"setup", "tone", "laughs"}),
    "named tuple": (Point, {"x"}),
}


def object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The object that a schema describes, where it refers to it."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][name] if name else schema


@pytest.mark.parametrize("name", REQUIRED)
def test_optional_keys_may_be_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema, required = REQUIRED[name]
    llm = ChatAmulet(engine=ScriptedEngine(["{}"]))
    answer = llm.bind(response_format=schema)
    for bound in (answer, llm.bind_tools([schema])):
        found = object_schema(asked(bound, monkeypatch))
        assert set(found["required"]) == required
        assert required <= found["properties"].keys()


@pytest.mark.parametrize("schema", [Place, Partial, Child, Box[int], Extended, Point], ids=str)
def test_what_any_model_writes_is_of_the_type(schema: Any, chat: Callable[..., ChatAmulet]) -> None:
    llm = chat(max_tokens=150, temperature=1.0)
    for seed in range(3):
        found = llm.with_structured_output(schema, method="json_mode", seed=seed).invoke("x")
        if not isinstance(found, dict):
            assert isinstance(found, schema)
            continue
        names = object_schema(TypeAdapter(REBUILT.get(schema, schema)).json_schema())
        assert set(names["required"]) <= found.keys() <= names["properties"].keys()


# The same types as pydantic takes them before Python 3.12.
REBUILT: dict[Any, Any] = {
    Place: typing_extensions.TypedDict("Place", {"city": str, "code": NotRequired[int]}),
    Partial: typing_extensions.TypedDict("Partial", {"name": str, "age": NotRequired[int]}),
    Child: typing_extensions.TypedDict(
        "Child",
        {"name": str, "age": NotRequired[int], "born": dt.date, "at": dict, "moods": list},
    ),
    Box[int]: typing_extensions.TypedDict("Box", {"item": int, "more": NotRequired[list]}),
    Extended: typing_extensions.TypedDict(
        "Extended", {"id": int, "places": NotRequired[list], "tags": NotRequired[list]}
    ),
}


def test_descriptions_stand_in_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["{}"]))
    answer = asked(llm.bind(response_format=Described), monkeypatch)
    arguments = asked(llm.bind_tools([Described]), monkeypatch)
    assert answer["description"] == "A joke."
    for schema in (answer, arguments):
        described = {key: it.get("description") for key, it in schema["properties"].items()}
        assert described == {
            "setup": "The first line",
            "rating": "How good it is",
            "lines": "How long it is",
            "tone": "The tone",
            "laughs": "How many laughed, in the hall.",
            "end": "The last line",
        }
        assert schema["properties"]["lines"]["default"] == 2
        assert schema["properties"]["laughs"]["minimum"] == 3


def takes_places(places: list[Tagged], line: Line, mood: Mood) -> str:
    """Takes places."""
    return ""


class Undocumented(BaseModel):
    place: Tagged
    mood: Mood
    path: pathlib.Path
    point: Point


@tool
def typed(place: Tagged, mood: Mood) -> str:
    """Takes a place."""
    return ""


BUILT_IN = (dict, tuple, list, object, enum.Enum, BaseModel, pathlib.Path, str, int, Generic)
HELP = {line.strip() for it in BUILT_IN for line in (inspect.getdoc(it) or "").splitlines()}


@pytest.mark.parametrize(
    "schema",
    [*(it for it, _, _ in TYPES.values()), takes_places, Undocumented, typed],
    ids=lambda it: str(getattr(it, "name", getattr(it, "__name__", it))),
)
def test_no_help_text_of_python_stands_in_the_prompt(schema: Any) -> None:
    engine = ScriptedEngine(["{}"])
    llm = ChatAmulet(engine=engine)
    llm.bind_tools([schema]).invoke("x")
    if schema is not typed:
        llm.with_structured_output(schema, include_raw=True).invoke("x")
    for request in engine.requests:
        prompt = engine.tokenizer.decode(request.contexts[0])
        assert not [line for line in HELP if len(line) > 12 and line in prompt]


class Plain:
    def __init__(self, a: int) -> None:
        self.a = a


class SubPlain(Plain):
    pass


class Names(list):  # type: ignore[type-arg]
    pass


REFUSED: dict[str, tuple[Any, str]] = {
    "enum": (Mood, "value: Mood"),
    "list": (list, "value: list"),
    "float": (float, "value: float"),
    "str": (str, "value: str"),
    "path": (pathlib.Path, "value: Path"),
    "object": (object, "value: object"),
    "dict": (dict, "value: dict"),
    "map": (dict[str, int], r"value: dict\[str, int\]"),
    "list of models": (list[Strict], r"value: list\[.*Strict\]"),
    "list of typed dicts": (list[Place], r"value: list\[.*Place\]"),
    "union": (Union[Strict, Place], "value: "),  # noqa: UP007
    "new union": (Strict | Checked, "value: "),
    "literal": (Literal["a", "b"], "value: "),
    "own list": (Names, "value: Names"),
    "plain class": (Plain, "Plain .*dataclass"),
    "plain subclass": (SubPlain, "SubPlain .*dataclass"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_types_are_refused_when_they_are_bound_with_a_remedy(name: str) -> None:
    schema, remedy = REFUSED[name]
    engine = ScriptedEngine([])
    llm = ChatAmulet(engine=engine)
    for method in METHODS:
        options: dict[str, Any] = {"method": method}
        with pytest.raises(PromptError, match=remedy):
            llm.with_structured_output(schema, **options)
    with pytest.raises(PromptError, match=remedy):
        llm.bind_tools([schema])
    with pytest.raises(PromptError, match=remedy):
        llm.invoke("x", response_format=schema)
    assert engine.requests == []


@pytest.mark.parametrize("schema", [Strict(day=BORN, at=(1, 2)), Checked(5), Pair(1, 2)])
def test_an_instance_in_place_of_its_class_is_refused(schema: Any) -> None:
    with pytest.raises(PromptError, match=r"instance of .* the class itself"):
        ChatAmulet(engine=ScriptedEngine([])).with_structured_output(schema)


def test_a_dataclass_checks_itself_where_types_in_it_are_rewritten() -> None:
    llm = writing("Trip", {"first": {"city": "Nowhere"}, "stops": []}, "json_schema")
    with pytest.raises(OutputParserException, match="no way there"):
        llm.with_structured_output(Trip).invoke("x")


def travel(
    first: Place,
    trip: Trip,
    stop: Stop,
    to: Somewhere = None,
    *,
    homes: Many[Home] | None = None,
    secret: Annotated[int, InjectedToolArg] = 0,
) -> Trip:
    """Travels.

    Args:
        first: Where it begins.
    """
    return trip


class Traveller:
    def travel(self, first: Place, *, trip: Trip) -> str:
        """Travels."""
        return ""


def test_functions_take_types_that_pydantic_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["{}"]))
    answer = llm.with_structured_output(travel)
    assert answer is not None
    given = {"first": ROME, "trip": TRIP, "stop": {"place": ROME}, "to": ROME, "homes": [ROME]}
    for schema in (
        asked(llm.bind_tools([travel]), monkeypatch),
        to_json_schema(travel),
        {**asked(llm.bind_tools([Traveller().travel]), monkeypatch), "required": ["first", "trip"]},
    ):
        assert schema["properties"].keys() <= given.keys()
        oracle = Draft202012Validator(schema)
        assert oracle.is_valid(given)
        for name in schema["required"]:
            assert not oracle.is_valid({**given, name: {}})


START = Point(1)


def moves(to: Point = START) -> str:
    """Moves."""
    return ""


class Moves(BaseModel):
    to: Point = START


@dataclasses.dataclass
class Moved:
    to: Point = START


@pytest.mark.parametrize("schema", [moves, Moves, Moved], ids=lambda it: it.__name__)
def test_named_tuples_are_objects_wherever_they_stand(schema: Any) -> None:
    written = to_json_schema(schema)
    oracle = Draft202012Validator(written)
    assert oracle.is_valid({"to": {"x": 1}})
    assert not oracle.is_valid({"to": [1, 2]})
    assert not oracle.is_valid({"to": {"y": 1}})
    assert written["properties"]["to"]["default"] == {"x": 1, "y": 2}
    assert '"default": 2' in json.dumps(written)


class CountedSchema(BaseModel):
    n: int
    text: str
    made: ClassVar[list[int]] = []

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        cls.made.append(1)
        return handler(core_schema)


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_chunks_of_a_stream_make_no_schemas(include_raw: bool, method: str) -> None:
    options: dict[str, Any] = {"method": method, "include_raw": include_raw}
    llm = writing("CountedSchema", {"n": 1, "text": "a" * 50}, method)
    reader = llm.with_structured_output(CountedSchema, **options)
    before = len(CountedSchema.made)
    assert list(reader.stream("x"))
    assert len(CountedSchema.made) <= before + 1  # LangChain makes one for its tracers


def test_names_that_nobody_can_find_are_refused() -> None:
    class Lost(typing.TypedDict):
        a: Nowhere  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(PromptError, match=r"Lost .*'Nowhere'.*top of the module"):
        ChatAmulet(engine=ScriptedEngine([])).with_structured_output(Lost)


class Tree(BaseModel):
    """A tree."""

    n: int
    kids: list[Tree] = Field(default=[], max_length=2)


def plant(tree: Tree) -> str:
    """Plants a tree."""
    return ""


@pytest.mark.parametrize("grower", [Tree, plant, tool(plant)], ids=["class", "function", "tool"])
def test_recursive_arguments_are_enforced_at_every_depth(
    grower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine(max_position_embeddings=2048)
    model = ChatAmulet(engine=engine, max_tokens=120, temperature=1.0)
    llm: Any = model.bind_tools([grower], tool_choice="any")
    assert "a tree." in llm.kwargs["tools"][0]["function"]["description"].lower()
    (call,) = llm.invoke("x", seed=3).tool_calls
    Tree.model_validate(call["args"].get("tree", call["args"]))
    parameters = asked(llm, monkeypatch)
    assert parameters["properties"]
    oracle = Draft202012Validator(parameters)
    for kids in ([], [{"n": 2}], [{"n": 2, "kids": [5]}], [{"n": 2, "kids": [{"n": "x"}]}]):
        tree: Any = {"n": 1, "kids": kids}
        arguments = tree if grower is Tree else {"tree": tree}
        assert oracle.is_valid(arguments) is is_tree(tree)
    engine.close()


def is_tree(value: Any) -> bool:
    try:
        Tree.model_validate(value)
    except ValueError:
        return False
    return True


def visit(place: Tagged, mood: Mood = Mood.CALM) -> str:
    """Goes to a place.

    Args:
        place: Where to.
        mood: In which mood.
    """
    return ""


@pytest.mark.parametrize("given", [typed, Strict, Undocumented, visit])
def test_tools_are_written_as_langchain_writes_them(given: Any) -> None:
    bound: Any = ChatAmulet(engine=ScriptedEngine([])).bind_tools([given])
    (function,) = (it["function"] for it in bound.kwargs["tools"])
    wanted = json.loads(
        json.dumps(convert_to_openai_tool(given)["function"]).replace(', "uniqueItems": true', "")
    )
    for properties in (it["parameters"]["properties"] for it in (function, wanted)):
        properties.pop("point", None)  # LangChain writes NamedTuples as arrays
    assert function == wanted
