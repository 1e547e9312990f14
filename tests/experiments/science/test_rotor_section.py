import math

import torch

from experiments.science.rotor_section import (
    PARAMETERS,
    linearized,
    rotor_section,
    screen,
    section_terms,
    stiffness,
    torsion,
)

KNOWN = PARAMETERS[:-1]


def medians():
    return torch.tensor([[20, 40, 1.9, 8, 15, 1.8, 0.5, 0.02]], dtype=torch.float64)


def test_a_homogeneous_tube_has_its_closed_form():
    radius, thickness, modulus, shear, sides = 0.5, 0.01, 40.0, 15.0, 720
    angle = torch.arange(sides + 1, dtype=torch.float64) * 2 * math.pi / sides
    points = radius * torch.stack([angle.cos(), angle.sin()], dim=1)[None]
    walls = torch.ones(1, sides, dtype=torch.float64)
    axial, first, second, center = stiffness(points[:, :-1], points[:, 1:], thickness * walls, modulus * walls)
    torch.testing.assert_close(axial[0].item(), 2 * math.pi * radius * thickness * modulus, rtol=1e-4, atol=0)
    for bending in (first, second):
        torch.testing.assert_close(bending[0].item(), math.pi * radius**3 * thickness * modulus, rtol=1e-4, atol=0)
    assert abs(center) < 1e-12
    area = torch.full((1, 1), math.pi * radius**2)
    around = torch.full((1, 1, 1), 2 * math.pi * radius / (shear * thickness))
    torch.testing.assert_close(
        torsion(area, around)[0].item(), 2 * math.pi * radius**3 * thickness * shear, rtol=1e-5, atol=0
    )


def test_a_box_has_its_closed_form_and_a_web_in_the_middle_carries_no_torsion():
    x = medians()
    width, height, flange, wall = 1.2, 0.6, 0.020, 0.008
    terms = section_terms(x)[0]
    axial = 2 * 40 * width * flange + 3 * 15 * height * wall + 0.02 * width * height
    bending = (
        2 * 40 * width * flange * (height / 2) ** 2 + 3 * 15 * wall * height**3 / 12 + 0.02 * width * height**3 / 12
    )
    one_cell = 4 * (width * height) ** 2 / (2 * width / (40 / 2.6 * flange) + 2 * height / (15 / 2.6 * wall))
    mass = 2 * 1.9 * width * flange + 3 * 1.8 * height * wall
    expected = [math.log(axial), math.log(bending), math.log(one_cell), math.log(mass), 0.5]
    torch.testing.assert_close(terms[[0, 1, 3, 4, 5]], torch.tensor(expected, dtype=torch.float64))


def test_stiffness_depends_on_modulus_times_thickness():
    x = medians()
    traded = x * torch.tensor([1.2, 1 / 1.2, 1, 0.9, 1 / 0.9, 1, 1, 1])
    torch.testing.assert_close(section_terms(traded)[:, [0, 1, 2, 3, 5]], section_terms(x)[:, [0, 1, 2, 3, 5]])
    assert (section_terms(traded) - section_terms(x))[0, 4].abs() > 0.05


def test_the_screening_finds_that_the_foam_does_not_matter():
    indices = screen(rotor_section(), n=256)
    assert indices.shape == (6, 8)
    important = (indices.max(0).values > 0.01).tolist()
    assert important == [name in KNOWN for name in PARAMETERS]
    mass = PARAMETERS.index("flange modulus [GPa]")
    assert abs(indices[4, mass]) < 1e-6  # no modulus in the mass


def test_the_linearized_posterior_has_anti_correlated_thickness_and_modulus():
    problem = rotor_section(KNOWN)
    _, y = problem.simulate(1)
    _, covariance = linearized(problem, y[0])
    deviation = covariance.diag().sqrt()
    correlation = covariance / deviation / deviation[:, None]
    assert correlation[0, 1] < -0.8 and correlation[3, 4] < -0.8
