"""The other invertible layers, one chapter for each publication."""

from __future__ import annotations

from experiments.differences.difference import Chapter, Difference

_TESTS = "tests/bijections/convolution"

_CINC = Chapter(
    "CInC Flow",
    """Nagar, Dufraisse and Varma, *CInC Flow: Characterizable Invertible 3×3 Convolution*, 2021, and its public
    code. Here `CausalConv2d` with `diagonal="free"`.""",
    (
        Difference(
            title="CInC: a positive diagonal",
            where="section 3",
            published="""The last tap is triangular and its diagonal free, of either sign; the layer is invertible
            while no entry is zero.""",
            here="The diagonal is the exponential of a parameter.",
            why="""A free entry may cross zero in training, where the log-determinant is minus infinity. A sign would
            flip whole channels and nothing else.""",
            shown=(
                f"{_TESTS}/test_causal.py::"
                "test_with_a_free_diagonal_it_is_the_convolution_by_any_kernel_whose_last_tap_is_triangular_and_positive",
            ),
        ),
        Difference(
            title="CInC: no bias",
            where="public code",
            published="A bias for each channel.",
            here="None: the layer is linear.",
            why="ActNorm, which is in every step, has one.",
            shown=(f"{_TESTS}/test_causal.py::test_there_is_no_bias",),
        ),
        Difference(
            title="CInC: the inverse",
            where="public code",
            published="""Pixel by pixel and channel by channel on the CPU in double precision, with the whole system
            rescaled where the diagonal is small.""",
            here="The same solve as that of Inverse-Flow, in the dtype and on the device of the image, differentiable.",
            why="It is the same triangular system.",
            shown=(
                f"{_TESTS}/test_causal.py::test_it_is_the_convolution_of_the_definition_scaled_by_its_diagonal",
                "tests/ops/test_inv_conv.py::test_gradients_are_those_of_autograd_through_the_dense_matrix",
            ),
        ),
        Difference(
            title="Quad-coupling: how it scales and shifts",
            where="quad-coupling; public code",
            published="""(x + t) · σ(r + 2) for a raw scale r, where raw scales and shifts are the odd and the even
            outputs of a network.""",
            here="""x · exp(s) + t with s a bounded tanh of r, as in `AffineCoupling`; of a network's outputs the
            first half are raw scales, the second shifts. The four blocks are equal and follow each other, and each
            network sees the blocks before its own as they came, as published.""",
            why="""A sigmoid comes as near to zero as it likes, and an inverse that divides by it may overflow. One
            form of coupling lets flows be compared.""",
            shown=(
                "tests/bijections/test_quad_coupling.py::"
                "test_it_is_the_coupling_of_the_definition_conditioned_on_blocks_as_they_came",
                "tests/bijections/test_quad_coupling.py::test_two_blocks_are_an_affine_coupling",
                "tests/bijections/test_coupling.py::test_no_scale_leaves_the_bound_whatever_the_network_says",
            ),
        ),
        Difference(
            title="Quad-coupling: the way back",
            where="public code",
            published="""From latent to data the first block is read from the place of the fourth, so that samples are
            not those of the model that was trained.""",
            here="The inverse finds one block after the other, from the first on.",
            why="It is the inverse.",
            shown=(
                "tests/bijections/test_quad_coupling.py::"
                "test_it_is_the_coupling_of_the_definition_conditioned_on_blocks_as_they_came",
                "tests/contracts/test_round_trip.py::test_latents_come_back",
            ),
        ),
    ),
)

_FINC = Chapter(
    "FInC Flow",
    """Kallappa, Nagar and Varma, *FInC Flow: Fast and Invertible k×k Convolutions for Normalizing Flows*, VISAPP
    2023, and its public code. Here `FInCConv2d`.""",
    (
        Difference(
            title="FInC: the triangle by construction",
            where="public code",
            published="""The last taps start triangular, and a hook multiplies their gradients by a mask before each
            step of the optimiser.""",
            here="What lies above the diagonal is never read.",
            why="Weight decay, momentum or loaded weights pass by a hook.",
            shown=(
                f"{_TESTS}/test_finc.py::test_each_quarter_of_the_channels_is_convolved_from_its_own_corner",
                f"{_TESTS}/test_causal.py::test_it_stays_triangular_under_an_optimiser_with_momentum_and_weight_decay",
            ),
        ),
        Difference(
            title="FInC: any batch, four groups in one call",
            where="public code",
            published="""One launch for each anti-diagonal and channel, with a thread for each image of the batch,
            whose size is bounded by that of a thread block.""",
            here="The four groups are mirrored to one corner and solved as one grouped convolution, at any batch.",
            why="It is the same map; the operator knows groups.",
            shown=(
                f"{_TESTS}/test_finc.py::test_each_quarter_of_the_channels_is_convolved_from_its_own_corner",
                "tests/ops/test_inv_conv.py::test_it_serves_thousands_of_images_at_once",
            ),
        ),
        Difference(
            title="FInC: diagonal, bound and start",
            where="FInC unit; public code",
            published="The diagonal is one. Taps start at a deviation that does not depend on the number of channels.",
            here="""The same by default; the diagonal may be learned and the inverse bounded. Taps start smaller the
            more of them are added up.""",
            why="The solve, which samples, must not grow at the start.",
            shown=(
                f"{_TESTS}/test_finc.py::test_a_unit_diagonal_has_no_log_determinant_and_a_free_one_counts_every_pixel",
                f"{_TESTS}/test_finc.py::test_the_bound_on_the_inverse_holds",
                f"{_TESTS}/test_finc.py::test_it_starts_near_the_identity",
            ),
        ),
    ),
)

_EMERGING = Chapter(
    "Emerging convolutions",
    """Hoogeboom, van den Berg and Welling, *Emerging Convolutions for Generative Normalizing Flows*, ICML 2019, and
    its public code. Here `EmergingConv2d`.""",
    (
        Difference(
            title="Emerging: positive diagonals",
            where="section 3.1",
            published="The diagonals of both last taps are free, of either sign.",
            here="Exponentials of parameters.",
            why="As for CInC: a free entry may cross zero.",
            shown=(
                f"{_TESTS}/test_emerging.py::"
                "test_it_is_the_product_of_two_opposed_convolutions_and_a_matrix_at_every_pixel",
                f"{_TESTS}/test_emerging.py::"
                "test_the_log_determinant_counts_both_diagonals_and_the_mixing_at_every_pixel",
            ),
        ),
        Difference(
            title="Emerging: the same triangle twice",
            where="public code",
            published="""The mask of the second convolution is mirrored in all axes, so that its triangle is the upper
            one.""",
            here="Both last taps are lower triangular.",
            why="""One operator serves both. A 1×1 convolution stands before them, which mixes all channels in any
            order.""",
            shown=(
                f"{_TESTS}/test_emerging.py::"
                "test_it_is_the_product_of_two_opposed_convolutions_and_a_matrix_at_every_pixel",
                f"{_TESTS}/test_emerging.py::test_each_channel_reaches_the_window_around_its_pixel_and_no_more",
            ),
        ),
        Difference(
            title="Emerging: kernels of half the side",
            where="section 3.1 and public code",
            published="Two k×k kernels, masked to what lies before and to what lies behind the middle.",
            here="Two kernels of side (k + 1) / 2 without a mask, one from each of two opposed corners.",
            why="They are the same convolutions, without the zeros.",
            shown=(f"{_TESTS}/test_emerging.py::test_each_channel_reaches_the_window_around_its_pixel_and_no_more",),
        ),
        Difference(
            title="Emerging: no biases",
            where="public code",
            published="A bias for the pair.",
            here="None: the layer is linear.",
            why="ActNorm has one.",
            shown=(f"{_TESTS}/test_emerging.py::test_there_are_no_biases",),
        ),
        Difference(
            title="Emerging: no QR",
            where="invertible 1×1 convolutions",
            published="The 1×1 convolution as a matrix, by its LU or by its QR factors.",
            here="As a matrix, by its LU factors, or none.",
            why="The LU factors are regular by construction, and their inverse takes two triangular solves.",
            shown=(
                f"{_TESTS}/test_emerging.py::test_the_mixing_comes_first_in_the_form_asked_for",
                f"{_TESTS}/test_emerging.py::test_other_bad_options_are_named",
                "tests/bijections/test_linear.py::test_a_factored_matrix_is_regular_whatever_its_parameters",
            ),
        ),
        Difference(
            title="Emerging: the log-determinant of the way back",
            where="public code",
            published="That of the 1×1 convolution is subtracted twice.",
            here="Each direction returns its own, once.",
            why="The log-determinant of the inverse is minus that of the layer.",
            shown=(
                f"{_TESTS}/test_emerging.py::"
                "test_the_log_determinant_counts_both_diagonals_and_the_mixing_at_every_pixel",
            ),
        ),
        Difference(
            title="Emerging: start and bound",
            where="public code",
            published="Taps of a fixed deviation around the identity; nothing bounds the inverse.",
            here="Taps that start smaller the more of them add up; `max_row_sum=ρ` bounds each of the two inverses.",
            why="Sampling takes both solves, one after the other.",
            shown=(
                f"{_TESTS}/test_emerging.py::test_it_starts_near_a_rotation",
                f"{_TESTS}/test_emerging.py::test_a_bound_holds_for_the_inverse_of_the_product",
            ),
        ),
    ),
)

_PERIODIC = Chapter(
    "Periodic convolutions",
    """Section 3.2 of the same publication, and Finzi et al., *Invertible Convolutional Networks*, 2019. Here
    `PeriodicConv2d`.""",
    (
        Difference(
            title="Periodic: frequencies in double precision",
            where="section 3.2",
            published="Determinants and inverses by FFT; no precision is asked for.",
            here="""In double precision whatever the layer's own is; the result has the layer's precision. For a real
            kernel half of the frequencies are computed.""",
            why="The log-determinant sums over all frequencies, and its rounding errors with it.",
            shown=(
                f"{_TESTS}/test_periodic.py::"
                "test_log_determinants_in_single_precision_have_no_error_but_that_of_the_weight",
            ),
        ),
        Difference(
            title="Periodic: kernels of any side",
            where="section 3.2",
            published="Odd sides.",
            here="Any side up to that of the image; the middle is rounded up.",
            why="On a torus an even kernel is as good as an odd one.",
            shown=(
                f"{_TESTS}/test_periodic.py::test_it_is_the_circular_convolution_of_the_definition",
                f"{_TESTS}/test_periodic.py::test_it_is_so_too_where_the_kernel_fills_the_image",
            ),
        ),
        Difference(
            title="Periodic: nothing is added to the matrices",
            where="Finzi et al. 2019, public code",
            published="""A Cholesky decomposition of the matrices with a small multiple of the identity added, and now
            and then a floor for their singular values.""",
            here="""The matrices as they are. Where one is singular the log-determinant is minus infinity and the
            inverse an error.""",
            why="A log-determinant of another matrix is a biased one.",
            shown=(
                f"{_TESTS}/test_periodic.py::test_it_is_the_circular_convolution_of_the_definition",
                f"{_TESTS}/test_periodic.py::test_a_singular_frequency_has_no_inverse_and_says_so",
            ),
        ),
        Difference(
            title="Periodic: start",
            where="public code",
            published="A random rotation with taps of a fixed deviation around it.",
            here="The same with taps that start smaller the more of them are added up.",
            why="The matrices stay well conditioned with many channels and large kernels.",
            shown=(f"{_TESTS}/test_periodic.py::test_it_starts_well_conditioned",),
        ),
    ),
)

_EXPONENTIAL = Chapter(
    "Convolution exponential",
    """Hoogeboom, Garcia Satorras, Tomczak and Welling, *The Convolution Exponential and Generalized Sylvester
    Flows*, NeurIPS 2020, and its public code. Here `ExponentialConv2d`.""",
    (
        Difference(
            title="Exponential: the norm is bounded",
            where="section 3 and public code",
            published="""The spectral norm is estimated by a step of power iteration for each training step, and the
            kernel divided by the estimate where that is above a limit.""",
            here="The kernel is scaled down by a bound on its spectral norm, which the weight alone decides.",
            why="""An estimate may be too small, and leaves a state behind that a call changes. The norm of the
            reshaped kernel, which is cheaper, is not a bound.""",
            shown=(
                f"{_TESTS}/test_exponential.py::test_the_spectral_norm_never_exceeds_the_bound",
                "tests/ops/test_spectral_norm.py::test_the_bound_is_never_below_the_norm",
                "tests/ops/test_spectral_norm.py::test_the_norm_of_the_reshaped_kernel_is_no_bound",
            ),
        ),
        Difference(
            title="Exponential: as many terms as a stated error takes",
            where="section 3 and public code",
            published="A fixed number of terms in training and about twice as many in sampling.",
            here="""The first number for which the remainder is below `tolerance` for every kernel within the bound,
            the same in both directions: by default, with σ = {norm} and the precision of the dtype, {terms_float32}
            in float32 and {terms_float64} in float64.""",
            why="With different terms the two directions are not inverse to each other.",
            shown=(
                f"{_TESTS}/test_exponential.py::test_both_directions_err_by_less_than_the_tolerance",
                f"{_TESTS}/test_exponential.py::test_the_series_stops_at_the_first_remainder_below_the_tolerance",
                f"{_TESTS}/test_exponential.py::"
                "test_the_log_determinant_of_the_truncated_series_is_as_close_as_promised",
            ),
        ),
        Difference(
            title="Exponential: the convolution alone",
            where="public code, and its port in that of Self Normalizing Flows",
            published="A 1×1 convolution before it, and in the port a bias for each element before and after.",
            here="Neither; the step has a 1×1 convolution and an ActNorm of its own.",
            why="A bias for each element ties the layer to one size of images.",
            shown=(
                f"{_TESTS}/test_exponential.py::test_it_is_the_matrix_exponential_of_the_convolution",
                "tests/flows/test_named.py::test_the_flows_differ_in_the_layer_alone",
            ),
        ),
    ),
)

_SELF_NORMALIZING = Chapter(
    "Exact and self-normalizing convolutions",
    """Keller, Peters, Jaini, Hoogeboom, Forré and Welling, *Self Normalizing Flows*, ICML 2021, and its public
    code. Here `ExactConv2d` and `SelfNormalizingConv2d`, with kernels w and r ≈ w⁻¹.""",
    (
        Difference(
            title="Both: the start",
            where="public code",
            published="The identity with noise around it; r starts as w with swapped channels and mirrored taps.",
            here="The identity with small taps N around it; r starts at I − N.",
            why="I − N is the inverse of I + N but for squares of N; the mirrored kernel is not.",
            shown=(
                f"{_TESTS}/test_exact.py::test_it_starts_near_the_identity",
                f"{_TESTS}/test_self_normalizing.py::test_it_starts_near_the_identity_and_near_its_inverse",
            ),
        ),
        Difference(
            title="Self-normalizing: the log-determinant is exact",
            where="section 3 and public code",
            published="Zero is reported in training, and the exact value in evaluation; so a training loss is none.",
            here="""The exact log-determinant in every mode, factorised without a graph; the terms that make the
            gradients of the publication have the value zero.""",
            why="What a flow reports is its likelihood, whichever gradients train it.",
            shown=(
                f"{_TESTS}/test_self_normalizing.py::test_values_are_those_of_the_exact_convolution_in_every_mode",
                f"{_TESTS}/test_self_normalizing.py::test_training_gradients_are_those_of_the_paper",
            ),
        ),
        Difference(
            title="Self-normalizing: one backward pass",
            where="public code",
            published="""The reconstruction error of each layer has a backward pass of its own, and where it is not a
            number it counts as zero.""",
            here="Its gradient comes with that of the likelihood, in w and r and nothing else.",
            why="Any loss made of log-likelihoods trains r, and a bad number stops the run.",
            shown=(
                f"{_TESTS}/test_self_normalizing.py::"
                "test_the_reconstruction_error_adds_its_weighted_gradient_to_both_kernels_and_to_nothing_else",
                f"{_TESTS}/test_self_normalizing.py::test_training_fits_a_density_and_learns_the_inverse",
            ),
        ),
        Difference(
            title="Self-normalizing: a fixed weight of the reconstruction",
            where="section 4 and public code",
            published="""A fixed weight λ, or one that constrained optimisation (GECO) changes; in the code, which has
            no tolerance, it only grows.""",
            here="A fixed one, `reconstruction_weight`.",
            why="A layer has no state that training changes beside its parameters.",
            shown=(
                f"{_TESTS}/test_self_normalizing.py::"
                "test_the_reconstruction_error_adds_its_weighted_gradient_to_both_kernels_and_to_nothing_else",
            ),
        ),
        Difference(
            title="Self-normalizing: the inverse is exact",
            where="section 3",
            published="Samples are drawn with r, which is approximate, or with the dense inverse.",
            here="With the exact inverse; `approximate_inverse` is there under its own name.",
            why="`inverse` is the inverse.",
            shown=(
                f"{_TESTS}/test_self_normalizing.py::test_values_are_those_of_the_exact_convolution_in_every_mode",
                f"{_TESTS}/test_self_normalizing.py::test_the_approximate_inverse_convolves_with_the_learned_kernel",
            ),
        ),
        Difference(
            title="Exact: the matrix",
            where="section 4 and public code",
            published="""The dense matrix is built, for square kernels only, and the model counts the parameters of
            inverse kernels that nothing reads.""",
            here="""The matrix is eliminated by blocks of rows, with the pivots of the dense one, for kernels of any
            height and width, and there is no inverse kernel. Images for which the factors do not fit are refused
            before any are computed.""",
            why="""The baseline is the ordinary convolution, nothing else; and zeros between rows that the kernel does
            not join need not be multiplied.""",
            shown=(
                f"{_TESTS}/test_exact.py::test_it_is_the_convolution_of_the_definition",
                f"{_TESTS}/test_exact.py::test_both_directions_are_exact_where_elimination_goes_by_blocks",
                "tests/ops/test_same_conv_solve.py::test_it_solves_and_measures_what_the_dense_matrix_does",
                f"{_TESTS}/test_exact.py::test_images_whose_factors_are_too_large_are_refused_before_any_are_computed",
                "tests/flows/test_planar.py::"
                "test_the_model_of_the_table_has_as_many_parameters_as_were_counted_in_the_published_one",
            ),
        ),
    ),
)

_WOODBURY = Chapter(
    "Woodbury transformations",
    """Lu and Huang, *Woodbury Transformations for Deep Generative Flows*, NeurIPS 2020, and its public code. Here
    `Woodbury` and `MemoryEfficientWoodbury`.""",
    (
        Difference(
            title="Woodbury: the spatial matrix is transposed",
            where="section 3.1",
            published="X (I + U V) on the image as a matrix X of channels and pixels.",
            here="X (I + U V)ᵀ: both updates multiply vectors from the left.",
            why="""One update serves every axis. The family of maps, the determinant and the number of parameters are
            the same: transposing exchanges U and V.""",
            shown=(
                f"{_TESTS}/test_woodbury.py::test_it_is_the_kronecker_product_of_its_updates",
                f"{_TESTS}/test_woodbury.py::test_the_number_of_parameters_is_that_of_the_publication",
            ),
        ),
        Difference(
            title="Memory-efficient Woodbury: the same, axis by axis",
            where="section 3.3",
            published="One update across channels, one along the height, one along the width.",
            here="The same, transposed as above; the ranks of both spatial axes are equal.",
            why="As above.",
            shown=(
                f"{_TESTS}/test_woodbury.py::test_it_is_the_kronecker_product_of_its_updates",
                f"{_TESTS}/test_woodbury.py::test_the_number_of_parameters_is_that_of_the_publication",
            ),
        ),
        Difference(
            title="Woodbury: ranks in the flow",
            where="public code",
            published="One rank at every scale.",
            here="The same rank, or the length of the axis where that is shorter.",
            why="A matrix has no higher rank than its side.",
            shown=("tests/flows/test_layers.py::test_ranks_are_16_or_what_the_axis_has",),
        ),
    ),
)

_MACOW = Chapter(
    "MaCow",
    """Ma, Kong, Zhang and Hovy, *MaCow: Masked Convolutional Generative Flow*, NeurIPS 2019, and its public code.
    Here `MaskedConvFlow` and `MaCow`.""",
    (
        Difference(
            title="MaCow: bounded scales",
            where="section 3.1 and public code",
            published="s = σ(s̃ + 2), which comes as near to zero as it likes.",
            here="s = σ(m tanh(s̃/m) + 2), by default between {macow_low} and {macow_high}; the start is the same.",
            why="The inverse divides by s in every row, on what the rows before have made of it, and may overflow.",
            shown=(
                f"{_TESTS}/test_macow.py::test_the_scale_stays_between_bounds_whatever_the_parameters",
                f"{_TESTS}/test_macow.py::test_it_starts_as_a_multiplication",
            ),
        ),
        Difference(
            title="MaCow: exact division",
            where="public code",
            published="The inverse divides by s with a small number added.",
            here="By s.",
            why="With the number added it is not the inverse; with bounded scales nothing asks for it.",
            shown=(
                f"{_TESTS}/test_macow.py::test_the_scale_stays_between_bounds_whatever_the_parameters",
                "tests/contracts/test_round_trip.py::test_latents_come_back",
            ),
        ),
        Difference(
            title="MaCow: no weight normalisation",
            where="section 3.1 and public code",
            published="Both convolutions are weight-normalised and initialised from data.",
            here="Plain convolutions; the last one starts at zero and has a learned gain, as in the couplings.",
            why="Initialisation from data is one pass that sets ActNorm, and nothing else.",
            shown=(
                f"{_TESTS}/test_macow.py::test_it_is_what_the_definition_says_pixel_by_pixel",
                f"{_TESTS}/test_macow.py::test_the_width_is_that_of_the_publication_unless_given",
            ),
        ),
    ),
)

_BUTTERFLY = Chapter(
    "ButterflyFlow",
    """Meng, Zhou, Choi, Dao and Ermon, *ButterflyFlow: Building Invertible Layers with Butterfly Matrices*, ICML
    2022, and its public code. Here `Butterfly`.""",
    (
        Difference(
            title="Butterfly: blocks of positive determinant",
            where="section 3",
            published="The four entries of each 2×2 block are free.",
            here="Each block is a rotation times an upper triangular matrix of positive diagonal.",
            why="""Free entries may become singular in training. What is left out are blocks of negative determinant,
            which are such products with one element flipped.""",
            shown=(
                f"{_TESTS}/test_butterfly.py::test_every_block_of_positive_determinant_is_reached",
                f"{_TESTS}/test_butterfly.py::test_no_values_of_the_parameters_make_a_block_singular",
                f"{_TESTS}/test_butterfly.py::test_a_level_has_four_parameters_for_each_pair_or_for_each_stretch",
            ),
        ),
        Difference(
            title="Butterfly: levels, and nothing between",
            where="public code",
            published="""Options for both directions in one layer, for blocks of matrices and for lengths cut into
            powers.""",
            here="A list of levels in any order; a level that the number of elements does not have is an error.",
            why="The other forms are compositions of such layers, or other partitions of the same elements.",
            shown=(
                f"{_TESTS}/test_butterfly.py::test_it_is_the_product_of_its_sparse_factors",
                f"{_TESTS}/test_butterfly.py::test_a_bad_option_is_named_with_its_remedy",
            ),
        ),
    ),
)

_MINTNET = Chapter(
    "MintNet",
    """Song, Meng and Ermon, *MintNet: Building Invertible Neural Networks with Masked Convolutions*, NeurIPS 2019,
    and its public code. Here `MintNet`.""",
    (
        Difference(
            title="MintNet: a positive scale",
            where="section 3 and public code",
            published="The scale of each element is the larger of the absolute value of a parameter and a tiny number.",
            here="The exponential of a parameter.",
            why="The absolute value has no gradient at zero, and the scale is a lower bound on the diagonal.",
            shown=(
                f"{_TESTS}/test_mintnet.py::test_it_is_the_sum_of_the_definition",
                f"{_TESTS}/test_mintnet.py::test_the_diagonal_is_positive_whatever_the_parameters",
            ),
        ),
        Difference(
            title="MintNet: fixed signs",
            where="section 3 and public code",
            published="""The middle weights of the second convolution are absolute values times the signs that those
            of the first and the third have at the time.""",
            here="""The middle weights of all three are absolute values times fixed signs, which alternate over the
            copies of a channel.""",
            why="""A sign that is read off a parameter jumps where that crosses zero. Every path adds a positive term
            to the diagonal, as published, and several copies have both signs among them.""",
            shown=(
                f"{_TESTS}/test_mintnet.py::test_it_is_the_sum_of_the_definition",
                f"{_TESTS}/test_mintnet.py::"
                "test_its_jacobian_is_triangular_with_a_positive_diagonal_and_no_emptier_than_the_masks_make_it",
            ),
        ),
        Difference(
            title="MintNet: damping where it overshoots",
            where="section 3.3 and public code",
            published="One damping for all elements, chosen for each data set.",
            here="""One for each element, doubled where the iteration overshoots and halved again where it keeps its
            direction.""",
            why="It takes no choice, and inverts blocks whose slopes differ much.",
            shown=(
                "tests/ops/test_fixed_point.py::test_damping_makes_an_iteration_contract_that_overshoots",
                f"{_TESTS}/test_mintnet.py::test_strong_blocks_are_inverted_too",
            ),
        ),
        Difference(
            title="MintNet: the inverse ends at a residual",
            where="section 3.3 and public code",
            published="A fixed number of iterations, and whatever they have come to.",
            here="""Until the residual is below a tolerance, by default ε to the power of ¾ for the precision ε of the
            dtype: {tolerance_float32} in float32 and {tolerance_float64} in float64. `solve` tells the residual; what
            does not get there is a `ConvergenceError`.""",
            why="An inverse that was not reached is no answer. Rounding keeps iterations from the precision itself.",
            shown=(
                f"{_TESTS}/test_mintnet.py::test_the_solution_comes_with_the_residual_of_its_values",
                f"{_TESTS}/test_mintnet.py::test_an_inverse_that_is_not_reached_is_an_error_and_no_answer",
            ),
        ),
        Difference(
            title="MintNet: the start",
            where="public code",
            published="Small weights in all convolutions, and smaller ones from some depth on.",
            here="Ordinary weights in the first two convolutions and small ones in the third, at every depth.",
            why="The block starts near the identity, and its hidden channels are of a useful size.",
            shown=(f"{_TESTS}/test_mintnet.py::test_it_starts_near_the_identity",),
        ),
    ),
)

_RATIONAL = Chapter(
    "Rational convolutions",
    """Ours: `RationalConv2d`, a one-sided convolution followed by the inverse of another, that is an ARMA filter
    (Box and Jenkins, *Time Series Analysis*, 1970) as a layer.""",
    (
        Difference(
            title="Rational: in two dimensions, between channels, invertible",
            where="ARMA filters",
            published="Filters of a series, whose coefficients have to be kept where the filter is stable.",
            here="""Filters of an image between channels from opposed corners, invertible for every weight by the
            triangle of the last taps; `max_row_sum=ρ` bounds both directions at every size.""",
            why="A layer of a flow needs its inverse and its log-determinant, whatever it learns.",
            shown=(
                f"{_TESTS}/test_rational.py::test_the_autoregressive_part_of_z_is_the_moving_average_of_x",
                f"{_TESTS}/test_rational.py::test_its_impulse_response_is_the_series_of_the_quotient",
                f"{_TESTS}/test_rational.py::test_with_a_bound_neither_direction_grows",
            ),
        ),
    ),
)

CHAPTERS = (
    _CINC,
    _FINC,
    _EMERGING,
    _PERIODIC,
    _EXPONENTIAL,
    _SELF_NORMALIZING,
    _WOODBURY,
    _MACOW,
    _BUTTERFLY,
    _MINTNET,
    _RATIONAL,
)
"""In the order of the page."""
