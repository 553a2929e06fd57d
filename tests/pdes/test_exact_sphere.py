"""Flows of the standard tests on the sphere: published numbers, and balance by differences in latitude."""

import math

import torch

from physdiff.pdes.exact_sphere import GRAVITY, RADIUS, ROTATION_RATE, mountain, rossby_haurwitz, zonal_flow, zonal_jet


def places(rows, columns):
    latitude = torch.linspace(-1.5, 1.5, rows, dtype=torch.float64)
    longitude = 0.1 + torch.arange(columns, dtype=torch.float64) * (2 * math.pi / columns)
    latitude, longitude = torch.meshgrid(latitude, longitude, indexing="ij")
    return longitude.clone().requires_grad_(), latitude.clone().requires_grad_()


def imbalance(flow):
    """Northward acceleration of a flow without northward speed, u^2 tan(phi)/a + f u + g h_phi/a, over the largest of its terms."""
    longitude, latitude = places(61, 7)
    u = flow(longitude, latitude)
    (slope,) = torch.autograd.grad(u["depth"].sum(), latitude)
    turn = u["velocity_x"] * (2 * ROTATION_RATE * torch.sin(latitude) + u["velocity_x"] * torch.tan(latitude) / RADIUS)
    return float(((turn + GRAVITY * slope / RADIUS).abs().max() / turn.abs().max()).detach())


def test_zonal_flow_is_in_balance():
    assert imbalance(zonal_flow) < 1e-13
    longitude, latitude = (c.detach() for c in places(5, 6))
    u = zonal_flow(longitude, latitude)
    # once around in twelve days
    assert abs(float((u["velocity_x"] / torch.cos(latitude)).max()) * 12 * 86400 / (2 * math.pi * RADIUS) - 1) < 1e-14


def test_tilted_flow_is_the_flow_about_the_tilted_axis():
    longitude, latitude = (c.detach() for c in places(41, 12))
    tilt = 0.7
    axis = torch.tensor([-math.sin(tilt), 0.0, math.cos(tilt)], dtype=torch.float64)
    c, s = torch.cos(latitude), torch.sin(latitude)
    place = torch.stack([c * torch.cos(longitude), c * torch.sin(longitude), s], -1)
    east = torch.stack([-torch.sin(longitude), torch.cos(longitude), 0 * s], -1)
    north = torch.stack([-s * torch.cos(longitude), -s * torch.sin(longitude), c], -1)
    wind = 40 * torch.linalg.cross(axis.expand_as(place), place)
    got = zonal_flow(longitude, latitude, speed=40.0, tilt=tilt)
    assert (got["velocity_x"] - (wind * east).sum(-1)).abs().max() < 1e-13 * 40
    assert (got["velocity_y"] - (wind * north).sum(-1)).abs().max() < 1e-13 * 40
    straight = zonal_flow(longitude, torch.asin((place * axis).sum(-1)), speed=40.0)
    assert (got["depth"] - straight["depth"]).abs().max() < 1e-9


def test_jet_is_in_balance_and_has_the_published_numbers():
    latitude = torch.linspace(0.3, 1.3, 4001, dtype=torch.float64)
    u = zonal_jet(0 * latitude, latitude)
    step = latitude[1] - latitude[0]
    slope = (u["depth"][2:] - u["depth"][:-2]) / (2 * step)
    turn = u["velocity_x"] * (2 * ROTATION_RATE * torch.sin(latitude) + u["velocity_x"] * torch.tan(latitude) / RADIUS)
    # differences of second order over 2.5e-4 radians of a jet a tenth of a radian wide
    assert (turn[1:-1] + GRAVITY * slope / RADIUS).abs().max() < 1e-4 * turn.abs().max()
    assert abs(float(u["velocity_x"].max()) - 80) < 1e-4
    low, high = math.pi / 7, math.pi / 2 - math.pi / 7
    # methods card P8: e_n = 1.46835e-4
    at = low + 0.3 * (high - low)
    jet = zonal_jet(torch.zeros(1).double(), torch.tensor([at]).double())["velocity_x"]
    assert abs(float(jet) * 1.46835e-4 / (80 * math.exp(1 / ((at - low) * (at - high)))) - 1) < 1e-5
    every = torch.linspace(-math.pi / 2, math.pi / 2, 20001, dtype=torch.float64)
    depth = zonal_jet(0 * every, every)["depth"]
    mean = torch.trapezoid(depth * torch.cos(every), every) / 2
    assert abs(float(mean) - 1e4) < 1e-3
    # south of the jet nothing has fallen yet; the value in use elsewhere
    assert abs(float(depth[0]) - 10158.18617) < 1e-5


def test_bump_is_where_it_should_be():
    longitude, latitude = (c.detach() for c in places(201, 16))
    longitude = longitude - 0.1
    change = zonal_jet(longitude, latitude, bump=120.0)["depth"] - zonal_jet(longitude, latitude)["depth"]
    assert 120 * 0.68 < float(change.max()) < 120 * math.cos(math.pi / 4 - 0.1)
    assert int(change.max(0).values.argmax()) == 0
    # either side of the first meridian alike
    assert (change[:, 1] - change[:, -1]).abs().max() < 1e-9 and float(change[:, 1].max()) > 1


def test_wave_has_four_crests_and_no_divergence():
    longitude, latitude = places(31, 9)
    u = rossby_haurwitz(longitude, latitude)
    (across,) = torch.autograd.grad(u["velocity_x"].sum(), longitude, retain_graph=True)
    (along,) = torch.autograd.grad((u["velocity_y"] * torch.cos(latitude)).sum(), latitude)
    assert (across + along).abs().max() < 1e-12 * across.abs().max()
    turned = rossby_haurwitz(longitude + math.pi / 2, latitude)
    assert (turned["depth"] - u["depth"]).abs().max() < 1e-8
    pole = rossby_haurwitz(torch.zeros(1).double(), torch.tensor([math.pi / 2]).double())["depth"]
    assert abs(float(pole) - 8000) < 1e-9


def test_mountain_is_a_cone_where_it_should_be():
    longitude = torch.tensor([270.0, -90.0, 280.0, 270.0, 260.0, 291.0, 0.0]).double().deg2rad()
    latitude = torch.tensor([30.0, 30.0, 30.0, 15.0, 30.0, 30.0, 30.0]).double().deg2rad()
    expected = torch.tensor([2000.0, 2000.0, 1000.0, 500.0, 1000.0, 0.0, 0.0]).double()
    assert (mountain(longitude, latitude) - expected).abs().max() < 1e-9
