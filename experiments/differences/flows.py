"""The named flows beside the models of their publications, and how they are measured."""

from __future__ import annotations

from experiments.differences.difference import Chapter, Difference

_NAMED = "tests/flows/test_named.py"
_STEP = f"{_NAMED}::test_the_step_of_the_publication_is_that_of_its_specification"
_ALIKE = f"{_NAMED}::test_the_flows_differ_in_the_layer_alone"

_PRESETS = Chapter(
    "Named flows",
    """Each named flow is one image flow with the layer of a publication. What is left out of a publication's model
    is the same for all: its coupling network (DenseNet, weight normalisation, ELU), its optimiser, its sizes.""",
    (
        Difference(
            title="One step for all",
            where="all but MintNet",
            published="Each publication has a step of its own.",
            here="""k×k layer → spline → ActNorm → 1×1 convolution → affine coupling, whatever the layer.
            `--model.paper-options` gives what options can give of the publication's step: no spline, no 1×1
            convolution, quad-couplings, a 1×1 kernel. The order is that of Inverse-Flow in any case.""",
            why="Flows that differ in the layer alone compare layers.",
            shown=(_ALIKE, _STEP, "inverseflow train mnist --model cinc --model.paper-options"),
        ),
        Difference(
            title="Glow",
            where="Kingma and Dhariwal, *Glow*, 2018, section 3 and public code",
            published="ActNorm → 1×1 convolution → affine coupling with (x + t) · σ(r + 2).",
            here="""The step above without a layer. The 1×1 convolution has its LU factors by default, and the
            coupling x · exp(s) + t with a bounded s.""",
            why="It shows what the layers add to it.",
            shown=(
                "tests/flows/test_image_flow.py::test_glow_is_the_same_step_without_the_convolution",
                "tests/bijections/test_coupling.py::test_an_affine_coupling_scales_and_shifts_the_second_half",
            ),
        ),
        Difference(
            title="CInC Flow: corners",
            where="Nagar et al. 2021, section 3",
            published="All convolutions start at the top left.",
            here="The corners cycle from step to step.",
            why="As for Inverse-Flow.",
            shown=("tests/flows/test_layers.py::test_corners_cycle_from_step_to_step",),
        ),
        Difference(
            title="Emerging, periodic, self-normalizing and Woodbury flows: the 1×1 convolution",
            where="the publications above",
            published="The layer stands in place of the 1×1 convolution of a step, or brings its own.",
            here="""Beside that of the step by default; in place of it with `--model.paper-options`, where the
            emerging convolution brings its own and the kernel of the self-normalizing one is 1×1.""",
            why="As above: one step for all.",
            shown=(
                _STEP,
                f"{_NAMED}::test_the_emerging_convolution_of_the_publication_has_its_1x1_right_before_it",
                "tests/flows/test_layers.py::test_emerging_brings_a_1x1_only_where_the_step_has_none",
            ),
        ),
        Difference(
            title="MaCow: splits",
            where="Ma et al. 2019, section 3.2",
            published="Two units in a step, and channels that leave within a scale too.",
            here="Two units in a step; channels leave between scales.",
            why="All flows have the same scales.",
            shown=(
                "tests/flows/test_layers.py::test_a_macow_step_is_two_units",
                "tests/flows/test_image_flow.py::test_every_scale_squeezes_and_all_but_the_last_end_in_a_learned_prior",
            ),
        ),
        Difference(
            title="ButterflyFlow: levels and order",
            where="Meng et al. 2022",
            published="""A number of levels in every step, chosen for each data set; ActNorm → 1×1 convolution →
            butterfly → coupling.""",
            here="One level in each step, cycling through all that the event has; the order of the step above.",
            why="Successive steps make up whole butterflies without a choice for each data set.",
            shown=(
                "tests/flows/test_layers.py::test_the_levels_of_a_butterfly_cycle_through_all_that_the_event_has",
                _STEP,
            ),
        ),
        Difference(
            title="MintNet: what is around its blocks",
            where="Song et al. 2019, section 3",
            published="Blocks and squeezes alone; no channels leave.",
            here="A block of either order and an ActNorm in each step; channels leave between scales, as in all flows.",
            why="The scales are shared, and ActNorm makes a flow start well on any data.",
            shown=(
                f"{_NAMED}::test_mintnet_is_its_blocks_and_an_activation_normalisation",
                "tests/flows/test_layers.py::"
                "test_a_mintnet_step_is_a_block_of_either_order_with_the_hidden_channels_that_are_asked_for",
            ),
        ),
        Difference(
            title="The planar model",
            where="Keller et al. 2021, section 4; Inverse-Flow, table 4",
            published="Nine linear layers with splines between. The inverse kernels of the exact baseline are counted.",
            here="The same with any layer, and without the inverse kernels.",
            why="Nothing else mixes pixels or channels, so that it compares linear layers.",
            shown=(
                "tests/flows/test_planar.py::test_it_is_nine_layers_with_splines_between_and_two_squeezes",
                "tests/flows/test_planar.py::"
                "test_the_model_of_the_table_has_as_many_parameters_as_were_counted_in_the_published_one",
                "inverseflow train mnist --model planar --model.layer exact",
            ),
        ),
        Difference(
            title="Preprocessing",
            where="the publications above",
            published="A squashed logit in one line of publications, centring in another, each with its own squash.",
            here="""An option of every flow, `preprocessing`, and part of its likelihood. The squash is that of Self
            Normalizing Flows by default.""",
            why="`log_prob` of grey levels is then right without bookkeeping outside of the flow.",
            shown=(
                "tests/flows/test_image_flow.py::test_preprocessing_is_the_logit_or_centring_and_only_for_grey_levels",
                "tests/flows/test_flow.py::test_preprocessing_belongs_to_the_likelihood",
            ),
        ),
        Difference(
            title="The learned prior of a split",
            where="Kingma and Dhariwal 2018, public code; Inverse-Flow, public code",
            published="""In Glow a normal density with mean and deviation from a zero convolution; in the code of
            Inverse-Flow a whole coupling network.""",
            here="That of Glow, as a bijection of the half that leaves, with a bounded log-deviation.",
            why="What leaves is kept in the latent, so that the flow stays a bijection.",
            shown=(
                "tests/bijections/test_coupling.py::"
                "test_a_learned_prior_gives_the_half_that_leaves_a_mean_and_a_deviation",
                "tests/contracts/test_round_trip.py::test_a_flow_decodes_what_it_encoded",
            ),
        ),
    ),
)

_METRICS = Chapter(
    "Metrics",
    "How the figures of this library are taken, beside the habits of the publications.",
    (
        Difference(
            title="Bits per dimension",
            where="tables of the publications",
            published="""Bits of grey levels. From code to code the constant of dividing by their number is added by
            hand, or is part of a log-determinant.""",
            here="""`flow.bits_per_dim`, the one place with the conversion; the dequantisation is a layer with its
            log-determinant. It is an upper bound, since the noise is drawn.""",
            why="A uniform model then costs exactly the logarithm of the number of levels.",
            shown=(
                "tests/flows/test_flow.py::test_a_uniform_model_costs_exactly_the_logarithm_of_the_levels",
                "tests/contracts/test_density.py::test_the_probabilities_of_all_images_sum_to_one",
                "inverseflow evaluate runs/digits --importance-samples 50",
            ),
        ),
        Difference(
            title="Means and errors",
            where="tables of the publications",
            published="One figure, now and then with a deviation over runs.",
            here="""The mean over test images and draws of the noise with its standard error, and over seeds where
            several.""",
            why="A difference within the error is none.",
            shown=(
                "tests/training/evaluation/test_measure.py::test_bits_are_the_mean_over_images_of_the_mean_over_draws",
                "tests/experiments/test_tables.py::test_the_table_prints_mean_and_deviation_of_the_seeds",
            ),
        ),
        Difference(
            title="Numbers of parameters",
            where="tables of the publications",
            published="Counted over different parts of the model.",
            here="Over all parameters of the flow as they are stored, priors and splines included.",
            why="It is what has to be stored.",
            shown=(
                "tests/flows/test_image_flow.py::test_parameters_are_counted_by_hand",
                "inverseflow info runs/digits",
            ),
        ),
        Difference(
            title="CIFAR-10 from JPEG",
            where="tables 5 and 6 of Inverse-Flow",
            published="Bits on the original images.",
            here="""Copies that were stored as JPEG are read too, under the title CIFAR-10 (JPEG); published bits
            stand beside those of MNIST alone.""",
            why="Compression took detail away, so that such images cost fewer bits.",
            shown=(
                "tests/data/test_cifar10.py::test_the_real_splits_have_their_sizes_and_say_that_they_are_jpeg",
                "tests/experiments/test_tables.py::test_published_bits_stand_beside_ours_on_the_same_images_alone",
            ),
        ),
    ),
)

CHAPTERS = (_PRESETS, _METRICS)
"""In the order of the page."""
