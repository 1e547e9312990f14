"""Examples with contexts."""

import pytest
import torch

from inverseflow.data import Batch, LabelCondition, Splits, TensorExamples, load_images
from inverseflow.errors import DataError


def test_a_batch_holds_each_example_with_its_own_context():
    examples = TensorExamples(torch.arange(5.0)[:, None], 10 * torch.arange(5.0)[:, None])
    batch = examples.select([4, 3, 1]).batch([2, 0])
    assert isinstance(batch, Batch)
    assert batch.x.tolist() == [[1.0], [4.0]]
    assert batch.context.tolist() == [[10.0], [40.0]]


def test_other_contexts_leave_the_examples_as_they_were():
    images = load_images("digits").test
    contexts = LabelCondition(tuple("0123456789")).one_hot(images.labels)
    conditional = images.with_context(contexts)
    assert images.context is None
    assert torch.equal(conditional.batch([7]).context.argmax(1), images.labels[7:8])
    assert torch.equal(conditional.select([3, 4]).labels, images.labels[3:5])


def test_contexts_that_do_not_fit_are_refused():
    examples = TensorExamples(torch.zeros(3, 2))
    with pytest.raises(DataError, match="3 examples need as many contexts"):
        examples.with_context(torch.zeros(2, 1))
    with pytest.raises(DataError, match="the context of example 1 is not finite"):
        examples.with_context(torch.tensor([[0.0], [torch.nan], [1.0]]))
    with pytest.raises(DataError, match="contexts of length 1, expected None"):
        Splits("a", "a", None, (2,), *3 * [examples.with_context(torch.zeros(3, 1))])


def test_an_unknown_class_is_refused_with_the_classes():
    with pytest.raises(DataError, match="there is no class 'cow': choose one of cat, dog"):
        LabelCondition(("cat", "dog")).encode(["cat", "cow"])
