"""The one-sided convolution written down from its definition, entry by entry; shares no code with the library.

    (A x)[o, h, w] = sum over i, a, b of K[o, i, kH-1-a, kW-1-b] x[i, h-a, w-b]         (specification, section 1.1)

for the top-left corner of an image, zero outside of it; one axis less for a sequence, one more for a volume. The other
corners mirror the event before and after. Of the last tap only the lower triangle within each group is read, its
diagonal being one when it is unitriangular.
"""

import itertools
import math

import numpy as np
import torch


def backwards(corner, axes):
    """Tell for each axis whether the walk from the corner goes backwards; None is the first corner."""
    words = corner.split("_") if corner else ["front"] * axes
    assert len(words) == axes
    return [word in ("back", "bottom", "right") for word in words]


def entries(weight_shape, size, corner, unitriangular, groups):
    """List the non-zero entries of A as rows (row, column, o, i, *place in the kernel); -1 for a constant one.

    Rows and columns count channels, then the spatial axes: the order of ``x.flatten(1)``.
    """
    channels, per_group, *sides = weight_shape
    signs = [1 if mirrored else -1 for mirrored in backwards(corner, len(size))]
    pixels = list(itertools.product(*map(range, size)))
    number = {pixel: index for index, pixel in enumerate(pixels)}
    found = []
    for o, within, behind in itertools.product(
        range(channels), range(per_group), itertools.product(*map(range, sides))
    ):
        i = (o // per_group) * per_group + within
        tap = (o, within, *(side - 1 - back for side, back in zip(sides, behind, strict=True)))
        if not any(behind):
            if i > o:
                continue
            if i == o and unitriangular:
                tap = (-1,) * len(tap)
        for pixel in pixels:
            # Walk away from the corner: what lies so far behind on the way to here.
            source = tuple(at + sign * back for at, sign, back in zip(pixel, signs, behind, strict=True))
            if source in number:
                found.append((o * len(pixels) + number[pixel], i * len(pixels) + number[source], *tap))
    return np.array(found).reshape(-1, 4 + len(size))


def dense_matrix(weight, *size, corner=None, unitriangular=False, groups=1):
    """Return A, differentiable with respect to the weight; a side is as long as an event has elements."""
    assert weight.shape[0] == weight.shape[1] * groups
    table = torch.from_numpy(entries(weight.shape, size, corner, unitriangular, groups))
    rows, columns, *tap = table.unbind(1)
    constant = tap[0] < 0
    values = weight.new_ones(len(table))
    values = values.index_put((~constant,), weight[tuple(index[~constant] for index in tap)])
    elements = weight.shape[0] * math.prod(size)
    return weight.new_zeros(elements, elements).index_put((rows, columns), values)


def convolve(x, weight, **options):
    """Return A x."""
    matrix = dense_matrix(weight, *x.shape[2:], **options)
    return (x.flatten(1) @ matrix.T).view(x.shape)


def solve(y, weight, **options):
    """Return the x whose A x is y, by a dense solve that knows nothing of triangles."""
    matrix = dense_matrix(weight, *y.shape[2:], **options)
    return torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape)


def raster_order(channels, *size, corner):
    """Return the permutation of ``x.flatten(1)`` into the order of the walk, channels innermost."""
    numbers = torch.arange(channels * math.prod(size)).view(channels, *size)
    mirrored = [axis for axis, back in enumerate(backwards(corner, len(size)), start=1) if back]
    return numbers.flip(mirrored).movedim(0, -1).flatten()


def same_matrix(weight, height, width, *, periodic=False):
    """Return the matrix of the ordinary convolution that keeps the size, entry by entry, ``(C'HW, CHW)``.

    (A x)[o, h, w] = sum over i, a, b of K[o, i, a, b] x[i, h + a - (kH-1)//2, w + b - (kW-1)//2], with zeros around the
    image, or with opposite borders that touch.
    """
    outputs, inputs, kernel_rows, kernel_columns = weight.shape
    matrix = weight.new_zeros(outputs, height, width, inputs, height, width)
    for h, w, a, b in itertools.product(range(height), range(width), range(kernel_rows), range(kernel_columns)):
        from_h, from_w = h + a - (kernel_rows - 1) // 2, w + b - (kernel_columns - 1) // 2
        if periodic:
            from_h, from_w = from_h % height, from_w % width
        if 0 <= from_h < height and 0 <= from_w < width:
            matrix[:, h, w, :, from_h, from_w] += weight[:, :, a, b]
    return matrix.reshape(outputs * height * width, inputs * height * width)
