import torch

from inverseflow.inference import build_method


def test_both_directions_share_one_set_of_parameters():
    tied = build_method("invauto", 4, 2, width=16, depth=2)
    free = build_method("autoencoder", 4, 2, width=16, depth=2)
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (tied, free)]
    assert 2 * counts[0] == counts[1]
    assert set(dict(tied.named_parameters())) == {
        f"net.layers.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")
    }


def test_the_penalty_keeps_the_matrices_near_orthonormal_ones():
    x, y = torch.randn(50, 3), torch.randn(50, 1)
    distances = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        model = build_method("invauto", 3, 1, width=8, depth=1, orthogonality_weight=weight)
        assert model.orthogonality() < 1e-8  # at the start
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            loss = model.loss(x, y)
            loss.total.backward()
            optimizer.step()
        assert ("orthogonality" in loss.terms) == (weight > 0)
        distances.append(model.orthogonality().item())
    assert distances[1] < 0.1 * distances[0]
