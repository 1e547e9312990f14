import torch

from inverseflow.utils.seeding import derived_seed, seeded


def test_seeds_of_different_purposes_steps_and_ranks_differ():
    purposes = [("noise", 0, 0), ("noise", 0, 1), ("noise", 1, 0), ("order", 0, 0), ("noise", 10, 0)]

    assert len({derived_seed(0, *purpose) for purpose in purposes}) == len(purposes)


def test_seeded_block_is_repeatable_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    with seeded(3, "samples"):
        first = torch.rand(4)
    with seeded(3, "samples"):
        second = torch.rand(4)

    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
