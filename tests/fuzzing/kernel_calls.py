"""Calls of kernels."""

import roughsnn as rs

from . import given as g
from .call import Call

CALLS: dict[str, Call] = {
    "ProductKernel": Call(rs.ProductKernel, dict(kernels=[g.POINT, g.SIGNATURE])),
    "SumKernel": Call(rs.SumKernel, dict(kernels=[g.POINT, g.SIGNATURE], weights=[1.0, 2.0])),
    "gram_matrix": Call(rs.gram_matrix, g.PAIR | dict(kernel=g.POINT, megabytes=64.0)),
    "LagKernel": Call(
        rs.LagKernel,
        dict(
            resolution=0.005,
            reach=0.25,
            bumps=6,
            directions=12,
            shrinkage=1.0,
            bandwidth=1.0,
            taper=0.1,
        ),
    ),
    "OrderedKernel": Call(
        rs.OrderedKernel, dict(width=0.05, height=0.5, taper=0.1, scaling="none")
    ),
    "PointKernel": Call(rs.PointKernel, dict(width=0.05, population=1.0, bandwidth=1.0, taper=0.1)),
    "PointKernel.call": Call(g.POINT, dict(x=g.TRAIN, y=g.TRAINS[1])),
    "PointKernel.fitted": Call(rs.PointKernel().fitted, dict(data=g.BATCH)),
    "SumKernel.fitted": Call(
        rs.SumKernel([rs.PointKernel(), rs.SignatureKernel()]).fitted, dict(data=g.BATCH)
    ),
    "SignatureKernel": Call(
        rs.SignatureKernel,
        dict(
            height=0.5,
            lifting=rs.ItoLift(),
            time_scale=1.0,
            dilation=1.0,
            taper=0.1,
            scaling="none",
            order=3,
            longest=2.0,
        ),
    ),
    "ItoLift": Call(rs.ItoLift, {}),
    "MarcusLift": Call(rs.MarcusLift, {}),
    "RampLift": Call(rs.RampLift, dict(width=0.05)),
    "LinearStatic": Call(rs.LinearStatic, {}),
    "RBFStatic": Call(rs.RBFStatic, dict(scale=1.0)),
    "PathKernel": Call(rs.PathKernel, dict(static=rs.RBFStatic(), refine=0, order=2, sweep="rows")),
    "PathKernel.call": Call(rs.PathKernel(order=2), dict(x=g.PATH, y=g.PATH[:2])),
    "PathKernel.error": Call(rs.PathKernel(order=2).error, dict(x=g.PATH, y=g.PATH[:2])),
    "PathKernel.gram": Call(rs.PathKernel(order=2).gram, dict(x=g.PATH[None], y=g.PATH[None, :2])),
    "PerNeuronKernel": Call(
        rs.PerNeuronKernel, dict(kernel=g.SIGNATURE, max_spikes=5, interactions=1)
    ),
}
