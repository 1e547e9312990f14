"""Inverse-Flow: its paper, its public code and its tables."""

from __future__ import annotations

from experiments.differences.difference import Chapter, Difference

_LAYER = Chapter(
    "Inverse-Flow: the layer",
    """Nagar and Varma, *Parallel Backpropagation for Inverse of a Convolution with Application to Normalizing
    Flows*, AISTATS 2025, and its public code, girish-lab/Inverse-Flow at commit 176f2c7. Nothing of that code is
    used here or was run: it was read, and what is computed of it follows the indices of its GPU kernels. A is the
    one-sided convolution, and the layer solves A x = y; g is the gradient of the loss at x.""",
    (
        Difference(
            title="The gradient of the image",
            where="theorem 1, algorithm 1; kernels `inv_conv_dy`",
            published="""The theorem carries the gradient along the walk of the solve; the algorithm adds up products
            of g with the taps, without a recursion. The GPU kernels fill an impulse response and convolve g with it,
            which is A⁻¹ g.""",
            here="A⁻ᵀ g: a solve with the transpose, from the opposite corner.",
            why="""From dx = A⁻¹ dy follows dL/dy = A⁻ᵀ g. On an example with one channel in each of four groups what
            the GPU kernels return has a relative error of {image_error}, and a cosine of {image_cosine} with the true
            one.""",
            shown=(
                "tests/experiments/differences/test_audit.py::test_the_published_gradient_of_the_image_is_another",
                "tests/ops/test_inv_conv.py::test_gradients_are_those_of_autograd_through_the_dense_matrix",
                "tests/ops/test_inv_conv.py::test_first_and_second_derivatives_agree_with_finite_differences",
            ),
        ),
        Difference(
            title="The gradient of the kernel",
            where="theorem 2, algorithm 1; kernels `inv_conv_dw`",
            published="""The algorithm adds up products of g itself with the image, with a plus sign. The GPU kernels
            take the layer's input for its output, store the gradient of an offset at the mirrored tap, that of an
            image in the row of an output channel and that of a channel in the column of an input channel, and leave
            out the first pixel, the farthest tap, and all images beyond the number of channels.""",
            here="""Minus the correlation of S = A⁻ᵀ g with the layer's output, summed over all images. Second
            derivatives are made of the same operators.""",
            why="""From 0 = dA x + A dx follows ⟨g, dx⟩ = −⟨S, dA x⟩. On the same example what the GPU kernels return
            has a relative error of {kernel_error}, and a cosine of {kernel_cosine} with the true one.""",
            shown=(
                "tests/experiments/differences/test_audit.py::test_the_published_gradient_of_the_kernel_is_another",
                "tests/ops/test_inv_conv.py::test_gradients_are_those_of_autograd_through_the_dense_matrix",
                "tests/ops/test_operators.py::test_the_correlation_and_its_derivatives_are_those_of_the_matrix",
            ),
        ),
        Difference(
            title="The inverse of the layer",
            where="solve and convolution in `inv_conv_with_bp_kernel_general.cu`",
            published="""The solve subtracts from a channel its own earlier pixels, times the taps of all channels of
            its group, where the convolution takes the pixels of each channel. They are each other's inverse only
            where a group has one channel.""",
            here="One definition of A, which the convolution applies and the solve inverts, at any number of channels.",
            why="""Otherwise samples are not those of the density that is trained. On an example of {wide} channels an
            element changes by up to {wide_error} on the way there and back.""",
            shown=(
                "tests/experiments/differences/test_audit.py::"
                "test_the_public_solve_and_convolution_are_inverse_for_one_channel_a_group_alone",
                "tests/ops/test_inv_conv.py::test_the_two_are_each_others_inverse_both_ways",
                "inverseflow experiment bijectivity",
            ),
        ),
        Difference(
            title="The log-determinant of the layer",
            where="`inf/layers/inv_conv.py`",
            published="Zero is reported whatever the GPU kernels compute.",
            here="""Zero with the unit diagonal, for every value of the parameters; with the learned one the sum of
            its logarithms at every pixel.""",
            why="""The implemented map multiplies each pixel where a group has several channels: in the example of
            {wide} channels its log-determinant is {wide_log_det}.""",
            shown=(
                "tests/experiments/differences/test_audit.py::test_the_public_solve_of_wide_groups_changes_volumes",
                "tests/ops/test_inv_conv.py::test_the_log_determinant_is_that_of_the_last_taps_diagonal_at_every_pixel",
                "tests/contracts/test_log_determinant.py::test_it_is_that_of_the_jacobian",
            ),
        ),
        Difference(
            title="The triangle of the last tap",
            where="`reset_gradients` and `get_mask` in `inf/layers/inv_conv.py`, `inf/train/experiment.py`",
            published="""A mask is to keep the last tap triangular. It acts on gradients, for channels counted without
            regard to groups, in a branch of the training that is off by default, and in one of two layers, not the
            one that most configurations take.""",
            here="""The operators read nothing of the last tap but what lies below its diagonal, and the diagonal
            where it is free. What is not read gets a gradient of exactly zero.""",
            why="""What holds by construction holds under momentum, weight decay and loaded weights, and the layer is
            invertible for every weight.""",
            shown=(
                "tests/bijections/convolution/test_causal.py::"
                "test_it_stays_triangular_under_an_optimiser_with_momentum_and_weight_decay",
                "tests/ops/test_inv_conv.py::"
                "test_entries_that_are_not_read_may_be_anything_and_receive_exactly_no_gradient",
            ),
        ),
        Difference(
            title="The number of channels",
            where="loops over channels in `inv_conv_with_bp_kernel_general.cu`",
            published="""There are always four groups of C/4 channels, rounded down. The channels that are left over
            come out as zeros: below four channels, as in the first blocks of an MNIST model, all of them. Of the
            stored kernel a quarter is read.""",
            here="""Any number of channels, in one group unless asked for more; a number of groups that does not
            divide them is an error.""",
            why="A layer that erases its input has no density, and says so nowhere.",
            shown=(
                "tests/ops/test_inv_conv.py::test_the_solve_inverts_the_matrix_of_the_definition",
                "tests/bijections/convolution/test_causal.py::test_a_bad_option_is_named_with_its_remedy",
            ),
        ),
        Difference(
            title="Corners",
            where="`inv_flow_with_pad` in `inf/layers/inv_conv.py`; configurations",
            published="""Four orders, one for each corner. The layer flips its stored kernel at every call, so that
            every other call computes something else, and does not flip on the way back. The configurations use the
            top left alone.""",
            here="""The kernel is stored as for the top left and never written to; the image is walked from the corner
            asked for. In the flows the corners cycle from step to step.""",
            why="One corner sees one side of a pixel only; and a call must not change the layer.",
            shown=(
                "tests/bijections/convolution/test_causal.py::"
                "test_it_is_the_convolution_of_the_definition_scaled_by_its_diagonal",
                "tests/ops/test_inv_conv.py::test_repeating_a_call_gives_the_same_bits_and_leaves_its_arguments_alone",
                "tests/flows/test_image_flow.py::test_the_corners_cycle_from_step_to_step",
            ),
        ),
        Difference(
            title="Initialisation of the layer",
            where="`reset_parameters` in `inf/layers/inv_conv.py`",
            published="""The ones of an identity are put at the middle of the kernel, which is its last tap for
            a side of two, but not for a side of three; there the layer starts with a full coupling to a
            diagonal neighbour.""",
            here="The identity, which is the unit diagonal, with small taps around it.",
            why="Small taps keep the solve well inside the range in which it does not grow.",
            shown=("tests/bijections/convolution/test_causal.py::test_it_starts_well_inside_stability",),
        ),
        Difference(
            title="Growth of the solve",
            where="not in the paper",
            published="That the determinant is one is all that is said of stability.",
            here="""`max_row_sum=ρ` keeps the absolute taps of each output channel below ρ in sum, so that ‖A⁻¹‖∞ ≤
            1/(1−ρ) at every size of the image. It is off by default, as published. `ops.growth` measures what a
            kernel does.""",
            why="A matrix of determinant one may have an inverse that grows geometrically with the image.",
            shown=(
                "tests/bijections/convolution/test_causal.py::test_without_a_bound_the_inverse_may_grow",
                "tests/bijections/convolution/test_causal.py::"
                "test_the_bound_on_the_inverse_holds_whatever_the_parameters",
                "tests/ops/test_growth.py::test_the_bound_holds_at_every_size",
            ),
        ),
        Difference(
            title="Time and memory",
            where="abstract; `inv_conv_with_bp_kernel_general.cu`",
            published="""A time in proportion to the side of the image. The GPU kernels take a launch for each
            anti-diagonal, each waited for, and that for each channel of a group in turn; so does the convolution of
            sampling. The gradient of the kernel fills a buffer of the batch times the number of taps.""",
            here="""One call for a solve, whose gradient is one solve and one correlation, without such a buffer.
            Sampling takes convolutions. The published schedule is timed beside it where there is a GPU.""",
            why="A solve takes as many operations as a convolution; launches and buffers come on top.",
            shown=(
                "tests/flows/test_flow.py::test_the_likelihood_takes_one_solve_for_each_step_and_its_gradient_one_more",
                "tests/flows/test_flow.py::test_sampling_an_inverse_flow_solves_nothing",
                "inverseflow bench op",
            ),
        ),
        Difference(
            title="Precision and batches",
            where="`inf/layers/inv_conv.py`, `inv_conv_with_bp_kernel_general.cu`",
            published="""Sums in single precision whatever the dtype, so that double precision fails in the backward
            pass; batches of at most a thread block, beyond which nothing is computed and no error is raised.""",
            here="float32 and float64, half precision computed in float32, and batches of any size.",
            why="Gradients are checked in float64, which takes an operator that has it.",
            shown=(
                "tests/ops/test_inv_conv.py::test_it_serves_thousands_of_images_at_once",
                "tests/ops/test_inv_conv.py::"
                "test_half_precision_is_computed_in_single_precision_and_returned_in_its_own",
            ),
        ),
    ),
)

_MODEL = Chapter(
    "Inverse-Flow: the model and its training",
    """The flow around the layer, and what the public code does when it trains and samples. Files are those of
    girish-lab/Inverse-Flow at commit 176f2c7.""",
    (
        Difference(
            title="Log-determinants are added once",
            where="`inf/layers/flowsequential.py`",
            published="""The log-determinant of every layer, with those of the splits and of the preprocessing, is
            added twice. An earlier version adds it once; which of them gave the printed figures is not known.""",
            here="Once.",
            why="Otherwise what is reported is not a likelihood.",
            shown=(
                "tests/bijections/test_multiscale.py::test_each_log_determinant_counts_once",
                "tests/contracts/test_log_determinant.py::test_log_prob_is_that_of_the_latent_plus_the_jacobian",
                "tests/contracts/test_density.py::test_the_probabilities_of_all_images_sum_to_one",
            ),
        ),
        Difference(
            title="Gradients are clipped, parameters are not",
            where="`inf/train/experiment.py`",
            published="""What is called gradient clipping clamps the parameters, before every step of the optimiser:
            all of them, of the baselines too, within an interval that differs from one configuration to another.""",
            here="The gradient is shortened to a largest norm, `optimizer.clip_norm`; no parameter is clamped.",
            why="""Within a small interval there is no rotation of the channels, no scale that normalises and hardly a
            coupling, so that the tables compare something other than the models.""",
            shown=(
                "tests/training/loop/test_module.py::test_clipping_shortens_the_gradient_and_leaves_the_weights_alone",
            ),
        ),
        Difference(
            title="What is not a number stops a run",
            where="`inf/train/experiment.py`",
            published="A loss that is not a number is replaced by zero, and enters averages as such.",
            here="""It stops the run before it reaches the weights, with the step and the first layer concerned. A row
            of a table that costs more bits than noise stops the experiment.""",
            why="A model that diverged has no likelihood to report.",
            shown=(
                "tests/training/test_trainer.py::test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_layer",
                "tests/experiments/test_tables.py::test_a_flow_that_is_worse_than_noise_is_a_defect",
            ),
        ),
        Difference(
            title="What is called reconstruction",
            where="figure 1; `reconstruct` in `inf/layers/flowsequential.py`, `inf/layers/splitprior.py`",
            published="""Through the layers and back, where the half that left at a split is drawn anew, and where the
            inverse of a wide layer is not one.""",
            here="""`decode(encode(x))`: nothing is dropped at a split, and every pixel comes back where rounding errors
            in float32 stay below half a grey level; the tables print that error, and the rows that lose a pixel.""",
            why="A flow is a bijection; a picture of a reconstruction shows that or nothing.",
            shown=(
                "tests/contracts/test_round_trip.py::test_a_flow_decodes_grey_levels_exactly",
                "inverseflow experiment figure1",
                "inverseflow reconstruct runs/digits",
            ),
        ),
        Difference(
            title="The step",
            where="section 4; `inf/experiments/if_glow_mnist.py`",
            published="""In the paper inverse convolution → spline → ActNorm → 1×1 convolution → affine coupling. The
            configurations put ActNorm first or leave it out, most have no 1×1 convolution, and the sides of their
            kernels are written into the code beside an option that says otherwise.""",
            here="The step of the paper; what is given as an option reaches its layer.",
            why="The paper is the publication, and an option that does nothing is a defect.",
            shown=(
                "tests/flows/test_image_flow.py::test_a_step_is_convolution_spline_normalisation_mixing_coupling",
                "tests/flows/test_image_flow.py::test_options_reach_their_layers",
            ),
        ),
        Difference(
            title="Configurations",
            where="`inf/experiments`, `inf/train/experiment.py`",
            published="""Several leave out an argument or a key that the training asks for, and end in an error before
            it begins; sizes, learning rates and batches differ from those of the paper.""",
            here="""Settings are checked before a run begins, and a run leaves those it was made with, from which it
            can be repeated.""",
            why="A table can be checked by whoever can run it.",
            shown=(
                "tests/training/test_options.py::test_every_preset_holds_valid_settings",
                "tests/cli/test_train.py::test_the_settings_that_a_run_leaves_repeat_it",
            ),
        ),
        Difference(
            title="The coupling network",
            where="`inf/layers/coupling.py`",
            published="""A 3×3 convolution to the hidden width, a 1×1 convolution from there to the channels of the
            coupling, and a 3×3 convolution of those. The first two have no biases; bias and gain of the last share
            their memory. With {coupling} it has {public_coupling} parameters.""",
            here="""The network of Glow, whose 1×1 convolution keeps the width: {our_coupling} parameters with as many
            channels and the same width. All flows with couplings have it.""",
            why="""The networks of the couplings hold most of the parameters of such a flow. With a small one in the
            flow and a large one in those it is compared with, a table compares networks.""",
            shown=(
                "tests/experiments/differences/test_audit.py::"
                "test_the_public_coupling_network_has_as_many_parameters_as_are_counted",
                "tests/flows/test_image_flow.py::test_parameters_are_counted_by_hand",
                "tests/nets/test_conv.py::test_the_gain_scales_each_output_channel_by_the_exponential_of_three_times_itself",
            ),
        ),
        Difference(
            title="The spline activation",
            where="`inf/layers/splines/rational_quadratic.py`",
            published="""A rational-quadratic spline that raises an error for a batch without a point inside its
            interval and for rounding that makes a discriminant negative, and returns one value in place of two for
            what is not a number.""",
            here="""The same spline, without a branch on values: points outside are left alone, a discriminant is not
            negative, and what is not a number stays where it is.""",
            why="One bad point must not end, or hide in, a batch.",
            shown=(
                "tests/bijections/test_spline_activation.py::test_a_batch_wholly_outside_has_finite_gradients",
                "tests/ops/test_spline.py::test_a_nan_stays_where_it_is",
                "tests/ops/test_spline.py::test_brutal_parameters_leave_all_finite",
            ),
        ),
        Difference(
            title="Activation normalisation",
            where="`inf/layers/actnorm.py`",
            published="""Starts at random values and sets itself in the first call, whatever that is; a channel that
            is constant in it is scaled by the inverse of a tiny number.""",
            here="""The identity until `flow.initialize(images)`, once and never in evaluation; a constant channel
            keeps its scale.""",
            why="Images often have constant channels at first, and two processes must start alike.",
            shown=(
                "tests/bijections/test_actnorm.py::test_a_constant_channel_keeps_its_scale",
                "tests/bijections/test_actnorm.py::test_plain_calls_and_inverses_never_initialise",
            ),
        ),
        Difference(
            title="The base density",
            where="`inf/layers/distributions/gaussian.py`",
            published="A normal density with a full covariance matrix, which is the identity.",
            here="Independent standard normals.",
            why="It is the same density, without a matrix of the square of the number of pixels.",
            shown=("tests/distributions/test_normal.py::test_its_density_is_that_of_independent_normals",),
        ),
    ),
)

_TABLES = Chapter(
    "Inverse-Flow: the tables",
    """What is printed in the paper's tables, and what stands in ours. The printed figures are kept beside ours as
    they are; none was a target.""",
    (
        Difference(
            title="Nats and bits",
            where="tables 2 and 3",
            published="Two columns for one quantity, which do not agree: {disagreements}.",
            here="Bits per dimension and nats of an image by one conversion, that of the flow.",
            why="NLL = bits · D · log 2, for D dimensions.",
            shown=(
                "tests/experiments/test_tables.py::test_the_public_figures_that_are_not_one_number_are_found",
                "tests/experiments/test_tables.py::test_nats_and_bits_are_the_same_number",
            ),
        ),
        Difference(
            title="The number of parameters",
            where="tables 2, 3, 5 and 6",
            published="""The columns count different things: for some rows the couplings and priors alone, for some
            another coupling network, for one a model of linear layers without couplings, and tensors that nothing
            reads.""",
            here="""All parameters of the flow that was trained and timed, the triangle of a last tap that is not read
            included.""",
            why="A smaller number in such a column is no property of the layer.",
            shown=(
                "tests/experiments/test_tables.py::test_every_line_has_each_seed_and_its_speed",
                "tests/flows/test_planar.py::"
                "test_the_model_of_the_table_has_as_many_parameters_as_were_counted_in_the_published_one",
                "inverseflow info runs/digits",
            ),
        ),
        Difference(
            title="The baselines",
            where="table 4",
            published="""The rows {copied} have the figures of the Self Normalizing Flows paper to every digit. In the
            public code the exact and the self-normalizing baselines have an inverse convolution in place of their
            layer.""",
            here="""Every row is trained here, with the options of `inverseflow train`, on the same images in the same
            order, and differs from the others in its layer alone.""",
            why="Figures from another model, budget or machine can't be compared.",
            shown=(
                "tests/experiments/test_tables.py::test_the_lines_of_a_table_differ_in_their_layer_alone",
                "inverseflow experiment table4",
            ),
        ),
        Difference(
            title="Sampling and forward times",
            where="tables 2 to 6; `inf/train/experiment.py`",
            published="""Times of a batch of samples, it is said. The public code draws one image at a time and
            averages the middle part of the runs.""",
            here="""The time of a whole batch, all rows in turn in one process after a warm-up, as median and
            quartiles; and whether sampling contains a solve.""",
            why="A ratio of times says something where all else is equal.",
            shown=(
                "tests/benchmarks/test_timing.py::test_functions_take_turns_after_a_warm_up",
                "tests/experiments/test_speedup.py::test_sampling_inverse_flow_calls_no_solve",
                "inverseflow experiment speedup",
            ),
        ),
        Difference(
            title="Time and memory along a size",
            where="tables 7 to 10",
            published="""The script for these tables builds a flow of 1×1 convolutions without any inverse
            convolution, with more scales than an image can be halved.""",
            here="""Flows with the layer that the table is about, beside another one; the numbers of scales and of
            steps are read as swapped.""",
            why="Otherwise the tables say nothing of the layer.",
            shown=(
                "tests/experiments/test_sweeps.py::test_only_the_axis_changes",
                "inverseflow experiment table7",
            ),
        ),
        Difference(
            title="Length of training",
            where="section 4",
            published="Every model is trained for the same number of epochs.",
            here="""The budget `full` has the epochs, the batch and the learning rates of the paper; `quick` has what
            a CPU can do in minutes, and is named above each table.""",
            why="Who has no GPU can run every table; its figures are not those of a trained model.",
            shown=(
                "tests/experiments/test_tables.py::test_full_is_the_number_of_epochs_of_the_paper",
                "inverseflow experiment table5 --budget full",
            ),
        ),
    ),
)

CHAPTERS = (_LAYER, _MODEL, _TABLES)
"""In the order of the page."""
