"""The one-sided convolution written down from its definition, entry by entry; shares no code with the library.

    (A x)[o, h, w] = sum over i, a, b of K[o, i, kH-1-a, kW-1-b] x[i, h-a, w-b]         (specification, section 1.1)

for the top-left corner, zero outside the image. The other corners mirror the image before and after. Of the last tap
only the lower triangle within each group is read, its diagonal being one when it is unitriangular.
"""

import itertools

import numpy as np
import torch


def entries(weight_shape, height, width, corner, unitriangular, groups):
    """List the non-zero entries of A as rows (row, column, o, i, kernel row, kernel column); -1 for a constant one.

    Rows and columns count channels, then rows, then columns of the image: the order of ``x.flatten(1)``.
    """
    channels, per_group, kernel_rows, kernel_columns = weight_shape
    found = []
    for o in range(channels):
        first = (o // per_group) * per_group  # of the channels of o's group
        for within in range(per_group):
            i = first + within
            for a in range(kernel_rows):
                for b in range(kernel_columns):
                    tap = (o, within, kernel_rows - 1 - a, kernel_columns - 1 - b)
                    if a == b == 0:
                        if i > o:
                            continue
                        if i == o and unitriangular:
                            tap = (-1, -1, -1, -1)
                    for h in range(height):
                        for w in range(width):
                            # Walk away from the corner: what lies a rows and b columns behind on the way to here.
                            from_h = h + a if "bottom" in corner else h - a
                            from_w = w + b if "right" in corner else w - b
                            if 0 <= from_h < height and 0 <= from_w < width:
                                row = (o * height + h) * width + w
                                column = (i * height + from_h) * width + from_w
                                found.append((row, column, *tap))
    return np.array(found).reshape(-1, 6)


def dense_matrix(weight, height, width, corner="top_left", unitriangular=False, groups=1):
    """Return A, differentiable with respect to the weight, ``(CHW, CHW)``."""
    assert weight.shape[0] == weight.shape[1] * groups
    table = torch.from_numpy(entries(weight.shape, height, width, corner, unitriangular, groups))
    rows, columns, o, i, a, b = table.unbind(1)
    constant = o < 0
    values = weight.new_ones(len(table))
    values = values.index_put((~constant,), weight[tuple(index[~constant] for index in (o, i, a, b))])
    size = weight.shape[0] * height * width
    return weight.new_zeros(size, size).index_put((rows, columns), values)


def convolve(x, weight, **options):
    """Return A x."""
    matrix = dense_matrix(weight, *x.shape[2:], **options)
    return (x.flatten(1) @ matrix.T).view(x.shape)


def solve(y, weight, **options):
    """Return the x whose A x is y, by a dense solve that knows nothing of triangles."""
    matrix = dense_matrix(weight, *y.shape[2:], **options)
    return torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape)


def raster_order(channels, height, width, corner):
    """Return the permutation of ``x.flatten(1)`` into the order of the walk, channels innermost."""
    rows = range(height)[::-1] if "bottom" in corner else range(height)
    columns = range(width)[::-1] if "right" in corner else range(width)
    return [(c * height + h) * width + w for h in rows for w in columns for c in range(channels)]


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
