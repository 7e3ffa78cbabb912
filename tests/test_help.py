"""What `help()` shows: signatures with every setting, and docstrings that name every field and attribute."""

from __future__ import annotations

import inspect
import pathlib
import pydoc
import re

import pytest

import edgequake_llm
from edgequake_llm import CompletionOptions, LLMError, OpenAIProvider, Provider, Simulator, SyncCalls, Timeouts
from edgequake_llm._value import Value
from support.pages import keys

CLASSES = [thing for name in edgequake_llm.__all__ if isinstance(thing := getattr(edgequake_llm, name), type)]
VALUES = [cls for cls in CLASSES if issubclass(cls, Value)]
PROVIDERS = [cls for cls in CLASSES if issubclass(cls, Provider) and "__init__" not in vars(cls)] + [OpenAIProvider]


def told(cls):
    """The names in backticks in a class's docstring, and in those of its bases here."""
    texts = [base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("edgequake_llm")]
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", " ".join(texts)))))


@pytest.mark.parametrize("cls", VALUES, ids=lambda cls: cls.__name__)
def test_the_fields_of_a_value_are_told_and_stand_in_its_signature(cls):
    assert set(cls.__match_args__) <= told(cls)
    parameters = inspect.signature(cls).parameters
    assert tuple(parameters) == cls.__match_args__
    for name, parameter in parameters.items():
        assert parameter.annotation, name
        assert parameter.default is getattr(cls, name, inspect.Parameter.empty), name


def test_a_signature_is_that_of_the_class_itself():
    class Mine(CompletionOptions):
        """With a default and a field of one's own."""

        temperature: float | None = 0.25
        mood: str = "good"

    parameters = inspect.signature(Mine).parameters
    assert list(parameters) == [*inspect.signature(CompletionOptions).parameters, "mood"]
    assert (parameters["temperature"].default, parameters["mood"].default) == (0.25, "good")
    assert inspect.signature(Timeouts).bind(5).arguments == {"connect": 5}


@pytest.mark.parametrize("cls", PROVIDERS, ids=lambda cls: cls.__name__)
def test_the_settings_of_a_provider_stand_in_its_signature_and_are_told(cls):
    parameters = dict(inspect.signature(cls).parameters)
    assert ("api" in parameters) == (cls is OpenAIProvider)
    parameters.pop("api", None)
    settings = inspect.signature(Provider._set_up).parameters.values()
    keywords = [setting.name for setting in settings if setting.kind is inspect.Parameter.KEYWORD_ONLY]
    assert list(parameters) == ["api_key", *keywords]
    assert set(parameters) <= told(cls)
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters.values())


@pytest.mark.parametrize(
    ("kind", "documented"),
    [("SimulatorSettings", Simulator), ("ReplySettings", Simulator.push)],
    ids=lambda thing: getattr(thing, "__name__", thing),
)
def test_what_the_simulator_is_told_is_told(kind, documented):
    file = pathlib.Path(edgequake_llm.__file__).with_name("simulator.py")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", documented.__doc__ + (Simulator.__doc__ or "")))))
    assert set(keys(file, kind)) <= words


def test_the_keywords_of_a_call_are_the_fields_of_its_options():
    file = pathlib.Path(edgequake_llm.__file__).with_name("_options.py")
    fields = {name: parameter.annotation for name, parameter in inspect.signature(CompletionOptions).parameters.items()}
    assert keys(file, "OptionFields") == fields


def test_a_wrapper_has_the_signature_of_its_own():
    assert list(inspect.signature(edgequake_llm.CachedProvider).parameters) == ["provider", "cache"]
    assert list(inspect.signature(edgequake_llm.HookedProvider).parameters) == ["provider", "hooks"]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_public_attribute_is_documented(cls):
    """Methods, properties and slots; also those that a class has from its bases here."""
    for base in cls.__mro__:
        if not base.__module__.startswith("edgequake_llm") or issubclass(base, BaseException):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or not (inspect.isroutine(value) or inspect.isdatadescriptor(value)):
                continue
            found = getattr(base, name) if isinstance(value, (staticmethod, classmethod)) else value
            assert inspect.getdoc(found), f"{base.__name__}.{name}"


def test_every_fact_of_an_error_is_told():
    assert set(vars(LLMError("x"))) <= told(LLMError)


@pytest.mark.parametrize("name", [name for name in vars(SyncCalls) if not name.startswith("_")])
def test_the_twins_without_an_event_loop_take_the_same(name):
    ours, other = (inspect.signature(getattr(cls, name)) for cls in (SyncCalls, Provider))
    assert list(ours.parameters.values()) == list(other.parameters.values())


def test_help_is_help():
    shown = pydoc.plain(pydoc.render_doc(OpenAIProvider))
    for words in ("base_url", "OPENAI_API_KEY", "docs/providers/openai.md", "Answer one prompt", "ConfigurationError"):
        assert words in shown
    assert "first_token: 'Seconds | None' = 300.0" in pydoc.plain(pydoc.render_doc(Timeouts))
