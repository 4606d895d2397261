"""What a request may be, and what it is refused for."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.engine import GenerationRequest, OutputAlternative
from amulet_integrations.errors import InvalidRequestError, UnknownArgumentError


def test_contexts_may_be_tensors_or_lists():
    wanted = ((1, 2), (3,))
    assert GenerationRequest(contexts=[[1, 2], (3,)], weights=[0.5, 0.5]).contexts == wanted
    tensors = [torch.tensor([1, 2]), torch.tensor([3])]
    assert GenerationRequest(contexts=tensors, weights=[0.5, 0.5]).contexts == wanted
    assert GenerationRequest(contexts=torch.tensor([[1, 2]])).contexts == ((1, 2),)


def test_one_context_needs_no_weight():
    assert GenerationRequest(contexts=[[1]]).weights is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"contexts": []}, "contexts"),
        ({"contexts": [[]]}, r"contexts\[0\] holds no token"),
        ({"contexts": [[1], []], "weights": [0, 1]}, r"contexts\[1\] holds no token"),
        ({"contexts": [[1, -2]]}, "-2"),
        ({"contexts": [["a"]]}, "contexts"),
        ({"contexts": "text"}, "contexts"),
        ({"contexts": [[1], [2]]}, "2 contexts need 2 weights"),
        ({"contexts": [[1], [2]], "weights": [1.0]}, "1 weights for 2 contexts"),
        ({"contexts": [[1], [2]], "weights": [1.0, 1.0]}, "add up to 2"),
        ({"contexts": [[1], [2]], "weights": [float("nan"), 1.0]}, "weights.0=nan"),
        ({"contexts": [[1], [2]], "weights": [float("inf"), float("-inf")]}, "weights.0=inf"),
        ({"contexts": [[1]], "weights": [1.0], "policy": len}, "not both"),
        ({"contexts": [[1]], "timeout": 0}, "timeout"),
        ({"contexts": [[1]], "cache_salt": ""}, "cache_salt"),
        ({"contexts": [[1]], "cache_salt": 7}, "cache_salt"),
    ],
)
def test_bad_requests_are_refused_when_they_are_made(values, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        GenerationRequest(**values)
    assert isinstance(caught.value, ValueError)


def test_large_weights_may_be_off_by_their_rounding():
    scale = 1e5 / 3
    GenerationRequest(contexts=[[1], [2], [3]], weights=[1 - 2 * scale, scale, scale])


def test_a_salt_is_not_shown():
    assert "secret" not in repr(GenerationRequest(contexts=[[1]], cache_salt="secret"))


def test_misspelt_arguments_are_refused():
    with pytest.raises(UnknownArgumentError, match="did you mean 'weights'"):
        GenerationRequest(contexts=[[1]], weigths=[1.0])


def test_branches_is_the_former_name_of_alternatives():
    alternative = OutputAlternative(grammar="start: /a/")
    with pytest.warns(DeprecationWarning, match="now called alternatives") as warned:
        request = GenerationRequest(contexts=[[1]], branches=[alternative])
    assert warned[0].filename == __file__
    assert request == GenerationRequest(contexts=[[1]], alternatives=[alternative])
    with (
        pytest.warns(DeprecationWarning, match="alternatives"),
        pytest.raises(InvalidRequestError, match="pass one"),
    ):
        GenerationRequest(contexts=[[1]], branches=[alternative], alternatives=[alternative])
