"""Synthetic features of nodes: three moons, one for each label, mixed with those of the neighbors."""

from __future__ import annotations

import math

import networkx
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

CLASSES = 3
_RADIUS, _CENTER, _NOISE = 1.0, 1.5, 0.08
_MIXED = 0.3


def graph(name: str) -> Tensor:
    """Return the adjacency ``(V, V)`` of ``"path"`` (3 nodes), ``"small world"`` (20) or ``"karate club"`` (34).

    Example:
        >>> graph("path").tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    graphs = {
        "path": networkx.path_graph(3),
        "small world": networkx.connected_watts_strogatz_graph(20, 4, 0.2, seed=0),
        "karate club": networkx.karate_club_graph(),
    }
    return torch.from_numpy(networkx.to_numpy_array(graphs[name], weight=None)).float()


def node_labels(count: int, adjacency: Tensor, generator: Generator) -> Tensor:
    """Return labels ``(count, V)``: half of the nodes take that of a random neighbor."""
    nodes = len(adjacency)
    labels = torch.randint(CLASSES, (count, nodes), generator=generator)
    neighbor = torch.multinomial(adjacency, count, replacement=True, generator=generator).T
    copied = torch.rand(count, nodes, generator=generator) < 0.5
    return torch.where(copied, labels.gather(1, neighbor), labels)


def node_features(labels: Tensor, adjacency: Tensor, generator: Generator) -> Tensor:
    """Return features ``(B, 2, V)`` given labels: a point of the label's moon, and part of the neighbors' mean."""
    angle = math.pi * torch.rand(labels.shape, generator=generator)
    turn = labels * (2 * math.pi / CLASSES)
    arc = torch.stack([torch.cos(angle + turn), torch.sin(angle + turn)], 1) * _RADIUS
    center = torch.stack([torch.cos(turn), torch.sin(turn)], 1) * _CENTER
    points = center + arc + _NOISE * torch.randn(arc.shape, generator=generator)
    mean = adjacency / adjacency.sum(0).clamp(min=1)
    return points + _MIXED * points @ mean


def one_hot(labels: Tensor) -> Tensor:
    """Return labels ``(B, V)`` as contexts ``(B, K, V)``."""
    return F.one_hot(labels, CLASSES).mT.float()
