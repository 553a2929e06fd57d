"""physdiff: physics-informed diffusion surrogates for gridded trajectories.

A law is written once and serves the solver, the grid residual, the PINN and the guidance of a posterior
sampler; a prior is trained once and serves forecast, gap filling and inversion. This module is the only
door: it holds names, not code, and loads a room when one of its names is first asked for, so that
``import physdiff`` costs nothing (torch included). Inside the package nobody imports from here.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# A public name is one line here (sorted by module, then name) and one under TYPE_CHECKING,
# which tests/architecture/test_door.py prints when it is missing.
_DOOR: dict[str, str] = {
    "PhysdiffError": "physdiff.base.errors",
    "Gaussian": "physdiff.base.gaussian",
    "Rng": "physdiff.base.rng",
    "Saved": "physdiff.base.saved",
    "spec_of": "physdiff.data.convert",
    "to_dataset": "physdiff.data.convert",
    "to_tensor": "physdiff.data.convert",
    "generate": "physdiff.data.generate",
    "inspect_file": "physdiff.data.inspect",
    "open_dataset": "physdiff.data.open",
    "open_forecast": "physdiff.data.open",
    "split_samples": "physdiff.data.split",
    "split_time": "physdiff.data.split",
    "fitted": "physdiff.data.statistics",
    "condition": "physdiff.data.windows",
    "condition_spec": "physdiff.data.windows",
    "TrajectoryWindows": "physdiff.data.windows",
    "write_dataset": "physdiff.data.write",
    "GaussianDenoiser": "physdiff.diffusion.analytic",
    "MixtureDenoiser": "physdiff.diffusion.analytic",
    "build_prior": "physdiff.diffusion.build",
    "Denoiser": "physdiff.diffusion.denoiser",
    "DiffusionPrior": "physdiff.diffusion.diffusion_prior",
    "PreconditionedDenoiser": "physdiff.diffusion.preconditioned",
    "pairwise_distance": "physdiff.diffusion.sample_covariance",
    "tapered_covariance": "physdiff.diffusion.sample_covariance",
    "DDIM": "physdiff.diffusion.samplers.ddim",
    "DDPM": "physdiff.diffusion.samplers.ddim",
    "DPMSolver2M": "physdiff.diffusion.samplers.dpm_multistep",
    "Heun": "physdiff.diffusion.samplers.heun",
    "KernelSampler": "physdiff.diffusion.samplers.sampler",
    "Sampler": "physdiff.diffusion.samplers.sampler",
    "timesteps": "physdiff.diffusion.samplers.timesteps",
    "CosineSchedule": "physdiff.diffusion.schedule",
    "EDMSchedule": "physdiff.diffusion.schedule",
    "RectifiedSchedule": "physdiff.diffusion.schedule",
    "Schedule": "physdiff.diffusion.schedule",
    "VESchedule": "physdiff.diffusion.schedule",
    "VPSchedule": "physdiff.diffusion.schedule",
    "atmosphere_check": "physdiff.evaluation.atmosphere_check",
    "climatology": "physdiff.evaluation.climatology",
    "evaluate": "physdiff.evaluation.evaluate",
    "kriging": "physdiff.evaluation.kriging",
    "linear_inverse": "physdiff.evaluation.linear_inverse",
    "field_covariance": "physdiff.evaluation.optimal_interpolation",
    "optimal_interpolation": "physdiff.evaluation.optimal_interpolation",
    "dressed_persistence": "physdiff.evaluation.persistence",
    "persistence": "physdiff.evaluation.persistence",
    "physics_residual": "physdiff.evaluation.physics",
    "read_readings": "physdiff.forecast.reconstruct",
    "Readings": "physdiff.forecast.reconstruct",
    "reconstruct": "physdiff.forecast.reconstruct",
    "rollout": "physdiff.forecast.rollout",
    "Rollout": "physdiff.forecast.rollout",
    "Dirichlet": "physdiff.grids.boundary",
    "Neumann": "physdiff.grids.boundary",
    "Outflow": "physdiff.grids.boundary",
    "Reflecting": "physdiff.grids.boundary",
    "Robin": "physdiff.grids.boundary",
    "CartesianGrid": "physdiff.grids.cartesian",
    "Fields": "physdiff.grids.field_spec",
    "FieldSpec": "physdiff.grids.field_spec",
    "Grid": "physdiff.grids.grid",
    "interpolation": "physdiff.grids.interpolate",
    "LatLonGrid": "physdiff.grids.latlon",
    "Ensemble": "physdiff.inference.ensemble",
    "exact_posterior": "physdiff.inference.exact",
    "FieldTarget": "physdiff.inference.exact",
    "GaussianTarget": "physdiff.inference.exact",
    "MixtureTarget": "physdiff.inference.exact",
    "Guided": "physdiff.inference.guided",
    "GuidedDenoiser": "physdiff.inference.guided",
    "GaussianNoise": "physdiff.inference.noise",
    "Noise": "physdiff.inference.noise",
    "LinearOperator": "physdiff.inference.observation",
    "MatrixOperator": "physdiff.inference.observation",
    "Observation": "physdiff.inference.observation",
    "Operator": "physdiff.inference.observation",
    "PhysicsResidual": "physdiff.inference.physics",
    "Posterior": "physdiff.inference.posterior",
    "PosteriorSampler": "physdiff.inference.posterior",
    "read_stations": "physdiff.inference.sensors",
    "Sensors": "physdiff.inference.sensors",
    "FourierMLP": "physdiff.networks.mlp",
    "MLP": "physdiff.networks.mlp",
    "UNet": "physdiff.networks.unet",
    "Autograd": "physdiff.operators.autograd",
    "FiniteDifference": "physdiff.operators.finite_difference",
    "FourierSymbol": "physdiff.operators.fourier_symbol",
    "Lattice": "physdiff.operators.lattice",
    "Operators": "physdiff.operators.operators",
    "PoissonOperators": "physdiff.operators.operators",
    "Spectral": "physdiff.operators.spectral",
    "Sphere": "physdiff.operators.sphere",
    "taylor_fields": "physdiff.operators.taylor",
    "WallOperators": "physdiff.operators.wall_operators",
    "AdvectionAdsorption": "physdiff.pdes.adsorption",
    "AdvectionDiffusion": "physdiff.pdes.advection_diffusion",
    "AllenCahn": "physdiff.pdes.allen_cahn",
    "trajectory_residual": "physdiff.pdes.along_trajectories",
    "BuoyantFlow": "physdiff.pdes.buoyant_flow",
    "Burgers": "physdiff.pdes.burgers",
    "VectorBurgers": "physdiff.pdes.burgers",
    "CompressibleNavierStokes": "physdiff.pdes.compressible",
    "Euler": "physdiff.pdes.compressible",
    "Darcy": "physdiff.pdes.darcy",
    "DiffusionSorption": "physdiff.pdes.diffusion_sorption",
    "FisherKPP": "physdiff.pdes.fisher_kpp",
    "FokkerPlanck": "physdiff.pdes.fokker_planck",
    "IncompressibleFlow": "physdiff.pdes.incompressible",
    "KortewegDeVries": "physdiff.pdes.korteweg_de_vries",
    "KuramotoSivashinsky": "physdiff.pdes.kuramoto_sivashinsky",
    "Lorenz63": "physdiff.pdes.lorenz",
    "Lorenz96": "physdiff.pdes.lorenz",
    "MassAction": "physdiff.pdes.mass_action",
    "MomentumDiffusion": "physdiff.pdes.momentum_diffusion",
    "DiagonalForcing": "physdiff.pdes.navier_stokes",
    "KolmogorovForcing": "physdiff.pdes.navier_stokes",
    "NavierStokes": "physdiff.pdes.navier_stokes",
    "PDE": "physdiff.pdes.pde",
    "Conductivity": "physdiff.pdes.porous_medium",
    "JumpConductivity": "physdiff.pdes.porous_medium",
    "PorousMedium": "physdiff.pdes.porous_medium",
    "PowerConductivity": "physdiff.pdes.porous_medium",
    "FitzHughNagumo": "physdiff.pdes.reaction_diffusion",
    "GrayScott": "physdiff.pdes.reaction_diffusion",
    "ReservoirPressure": "physdiff.pdes.reservoir_pressure",
    "NonlinearSchroedinger": "physdiff.pdes.schroedinger",
    "ShallowWater": "physdiff.pdes.shallow_water",
    "ShallowWaterSphere": "physdiff.pdes.shallow_water_sphere",
    "Steady": "physdiff.pdes.steady",
    "coverage_plot": "physdiff.plots.calibration",
    "rank_histogram_plot": "physdiff.plots.calibration",
    "spread_skill_plot": "physdiff.plots.calibration",
    "ensemble_maps": "physdiff.plots.maps",
    "map_plot": "physdiff.plots.maps",
    "spectral_ratio_plot": "physdiff.plots.spectra",
    "spectrum_plot": "physdiff.plots.spectra",
    "fan_plot": "physdiff.plots.trajectories",
    "scores_plot": "physdiff.plots.trajectories",
    "training_curve": "physdiff.plots.trajectories",
    "forecast_report": "physdiff.report.forecast_page",
    "Section": "physdiff.report.html",
    "Table": "physdiff.report.html",
    "to_picture": "physdiff.report.html",
    "write_report": "physdiff.report.html",
    "posterior_report_page": "physdiff.report.posterior_page",
    "central_interval": "physdiff.scores.coverage",
    "coverage": "physdiff.scores.coverage",
    "crps": "physdiff.scores.crps",
    "energy_score": "physdiff.scores.energy_score",
    "acc": "physdiff.scores.pointwise",
    "bias": "physdiff.scores.pointwise",
    "ensemble_rmse": "physdiff.scores.pointwise",
    "mae": "physdiff.scores.pointwise",
    "rmse": "physdiff.scores.pointwise",
    "rank_histogram": "physdiff.scores.rank_histogram",
    "Averaged": "physdiff.scores.reduce",
    "Score": "physdiff.scores.reduce",
    "log_spectral_distance": "physdiff.scores.spectrum",
    "spread": "physdiff.scores.spread_skill",
    "spread_skill": "physdiff.scores.spread_skill",
    "ChangCooper": "physdiff.solvers.chang_cooper",
    "solve_darcy": "physdiff.solvers.darcy",
    "ETDRK2": "physdiff.solvers.etdrk",
    "ETDRK4": "physdiff.solvers.etdrk",
    "FiniteVolume": "physdiff.solvers.finite_volume",
    "CNAB2": "physdiff.solvers.imex",
    "ImexRungeKutta": "physdiff.solvers.imex",
    "ImexTableau": "physdiff.solvers.imex",
    "DiagonalTableau": "physdiff.solvers.implicit",
    "ImplicitRungeKutta": "physdiff.solvers.implicit",
    "ImplicitDiffusion": "physdiff.solvers.implicit_diffusion",
    "InitialField": "physdiff.solvers.initial",
    "RandomField": "physdiff.solvers.initial",
    "Newton": "physdiff.solvers.newton",
    "ProjectedRungeKutta": "physdiff.solvers.projection",
    "MUSCL": "physdiff.solvers.reconstruction",
    "PiecewiseConstant": "physdiff.solvers.reconstruction",
    "WENO5": "physdiff.solvers.reconstruction",
    "Godunov": "physdiff.solvers.riemann",
    "HLL": "physdiff.solvers.riemann",
    "HLLC": "physdiff.solvers.riemann",
    "Rusanov": "physdiff.solvers.riemann",
    "EmbeddedPair": "physdiff.solvers.runge_kutta",
    "EmbeddedRungeKutta": "physdiff.solvers.runge_kutta",
    "RungeKutta": "physdiff.solvers.runge_kutta",
    "Tableau": "physdiff.solvers.runge_kutta",
    "SemiLagrangian": "physdiff.solvers.semi_lagrangian",
    "solve": "physdiff.solvers.solve",
    "Stepper": "physdiff.solvers.stepper",
    "TwoPointFlux": "physdiff.solvers.two_point_flux",
    "TrajectoryDataModule": "physdiff.training.datamodule",
    "DiffusionModule": "physdiff.training.diffusion_module",
    "fit": "physdiff.training.fit",
    "prepare": "physdiff.training.recipe",
    "Recipe": "physdiff.training.recipe",
    "Anomaly": "physdiff.transforms.anomaly",
    "Increment": "physdiff.transforms.anomaly",
    "SubtractGuess": "physdiff.transforms.anomaly",
    "Compose": "physdiff.transforms.compose",
    "ConditionTransform": "physdiff.transforms.condition",
    "DropHistory": "physdiff.transforms.frames",
    "FramesToChannels": "physdiff.transforms.frames",
    "LinearForecast": "physdiff.transforms.linear_forecast",
    "Normalizer": "physdiff.transforms.normalizer",
    "Transform": "physdiff.transforms.transform",
    "WaveletTransform": "physdiff.transforms.wavelet",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOOR})


if TYPE_CHECKING:
    from physdiff.base.errors import PhysdiffError as PhysdiffError
    from physdiff.base.gaussian import Gaussian as Gaussian
    from physdiff.base.rng import Rng as Rng
    from physdiff.base.saved import Saved as Saved
    from physdiff.data.convert import spec_of as spec_of, to_dataset as to_dataset, to_tensor as to_tensor
    from physdiff.data.generate import generate as generate
    from physdiff.data.inspect import inspect_file as inspect_file
    from physdiff.data.open import open_dataset as open_dataset, open_forecast as open_forecast
    from physdiff.data.split import split_samples as split_samples, split_time as split_time
    from physdiff.data.statistics import fitted as fitted
    from physdiff.data.windows import TrajectoryWindows as TrajectoryWindows, condition as condition, condition_spec as condition_spec
    from physdiff.data.write import write_dataset as write_dataset
    from physdiff.diffusion.analytic import GaussianDenoiser as GaussianDenoiser, MixtureDenoiser as MixtureDenoiser
    from physdiff.diffusion.build import build_prior as build_prior
    from physdiff.diffusion.denoiser import Denoiser as Denoiser
    from physdiff.diffusion.diffusion_prior import DiffusionPrior as DiffusionPrior
    from physdiff.diffusion.preconditioned import PreconditionedDenoiser as PreconditionedDenoiser
    from physdiff.diffusion.sample_covariance import pairwise_distance as pairwise_distance, tapered_covariance as tapered_covariance
    from physdiff.diffusion.samplers.ddim import DDIM as DDIM, DDPM as DDPM
    from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M as DPMSolver2M
    from physdiff.diffusion.samplers.heun import Heun as Heun
    from physdiff.diffusion.samplers.sampler import KernelSampler as KernelSampler, Sampler as Sampler
    from physdiff.diffusion.samplers.timesteps import timesteps as timesteps
    from physdiff.diffusion.schedule import (
        CosineSchedule as CosineSchedule,
        EDMSchedule as EDMSchedule,
        RectifiedSchedule as RectifiedSchedule,
        Schedule as Schedule,
        VESchedule as VESchedule,
        VPSchedule as VPSchedule,
    )
    from physdiff.evaluation.atmosphere_check import atmosphere_check as atmosphere_check
    from physdiff.evaluation.climatology import climatology as climatology
    from physdiff.evaluation.evaluate import evaluate as evaluate
    from physdiff.evaluation.kriging import kriging as kriging
    from physdiff.evaluation.linear_inverse import linear_inverse as linear_inverse
    from physdiff.evaluation.optimal_interpolation import field_covariance as field_covariance, optimal_interpolation as optimal_interpolation
    from physdiff.evaluation.persistence import dressed_persistence as dressed_persistence, persistence as persistence
    from physdiff.evaluation.physics import physics_residual as physics_residual
    from physdiff.forecast.reconstruct import Readings as Readings, read_readings as read_readings, reconstruct as reconstruct
    from physdiff.forecast.rollout import Rollout as Rollout, rollout as rollout
    from physdiff.grids.boundary import Dirichlet as Dirichlet, Neumann as Neumann, Outflow as Outflow, Reflecting as Reflecting, Robin as Robin
    from physdiff.grids.cartesian import CartesianGrid as CartesianGrid
    from physdiff.grids.field_spec import Fields as Fields, FieldSpec as FieldSpec
    from physdiff.grids.grid import Grid as Grid
    from physdiff.grids.interpolate import interpolation as interpolation
    from physdiff.grids.latlon import LatLonGrid as LatLonGrid
    from physdiff.inference.ensemble import Ensemble as Ensemble
    from physdiff.inference.exact import (
        FieldTarget as FieldTarget,
        GaussianTarget as GaussianTarget,
        MixtureTarget as MixtureTarget,
        exact_posterior as exact_posterior,
    )
    from physdiff.inference.guided import Guided as Guided, GuidedDenoiser as GuidedDenoiser
    from physdiff.inference.noise import GaussianNoise as GaussianNoise, Noise as Noise
    from physdiff.inference.observation import (
        LinearOperator as LinearOperator,
        MatrixOperator as MatrixOperator,
        Observation as Observation,
        Operator as Operator,
    )
    from physdiff.inference.physics import PhysicsResidual as PhysicsResidual
    from physdiff.inference.posterior import Posterior as Posterior, PosteriorSampler as PosteriorSampler
    from physdiff.inference.sensors import Sensors as Sensors, read_stations as read_stations
    from physdiff.networks.mlp import MLP as MLP, FourierMLP as FourierMLP
    from physdiff.networks.unet import UNet as UNet
    from physdiff.operators.autograd import Autograd as Autograd
    from physdiff.operators.finite_difference import FiniteDifference as FiniteDifference
    from physdiff.operators.fourier_symbol import FourierSymbol as FourierSymbol
    from physdiff.operators.lattice import Lattice as Lattice
    from physdiff.operators.operators import Operators as Operators, PoissonOperators as PoissonOperators
    from physdiff.operators.spectral import Spectral as Spectral
    from physdiff.operators.sphere import Sphere as Sphere
    from physdiff.operators.taylor import taylor_fields as taylor_fields
    from physdiff.operators.wall_operators import WallOperators as WallOperators
    from physdiff.pdes.adsorption import AdvectionAdsorption as AdvectionAdsorption
    from physdiff.pdes.advection_diffusion import AdvectionDiffusion as AdvectionDiffusion
    from physdiff.pdes.allen_cahn import AllenCahn as AllenCahn
    from physdiff.pdes.along_trajectories import trajectory_residual as trajectory_residual
    from physdiff.pdes.buoyant_flow import BuoyantFlow as BuoyantFlow
    from physdiff.pdes.burgers import Burgers as Burgers, VectorBurgers as VectorBurgers
    from physdiff.pdes.compressible import CompressibleNavierStokes as CompressibleNavierStokes, Euler as Euler
    from physdiff.pdes.darcy import Darcy as Darcy
    from physdiff.pdes.diffusion_sorption import DiffusionSorption as DiffusionSorption
    from physdiff.pdes.fisher_kpp import FisherKPP as FisherKPP
    from physdiff.pdes.fokker_planck import FokkerPlanck as FokkerPlanck
    from physdiff.pdes.incompressible import IncompressibleFlow as IncompressibleFlow
    from physdiff.pdes.korteweg_de_vries import KortewegDeVries as KortewegDeVries
    from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky as KuramotoSivashinsky
    from physdiff.pdes.lorenz import Lorenz63 as Lorenz63, Lorenz96 as Lorenz96
    from physdiff.pdes.mass_action import MassAction as MassAction
    from physdiff.pdes.momentum_diffusion import MomentumDiffusion as MomentumDiffusion
    from physdiff.pdes.navier_stokes import DiagonalForcing as DiagonalForcing, KolmogorovForcing as KolmogorovForcing, NavierStokes as NavierStokes
    from physdiff.pdes.pde import PDE as PDE
    from physdiff.pdes.porous_medium import (
        Conductivity as Conductivity,
        JumpConductivity as JumpConductivity,
        PorousMedium as PorousMedium,
        PowerConductivity as PowerConductivity,
    )
    from physdiff.pdes.reaction_diffusion import FitzHughNagumo as FitzHughNagumo, GrayScott as GrayScott
    from physdiff.pdes.reservoir_pressure import ReservoirPressure as ReservoirPressure
    from physdiff.pdes.schroedinger import NonlinearSchroedinger as NonlinearSchroedinger
    from physdiff.pdes.shallow_water import ShallowWater as ShallowWater
    from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere as ShallowWaterSphere
    from physdiff.pdes.steady import Steady as Steady
    from physdiff.plots.calibration import (
        coverage_plot as coverage_plot,
        rank_histogram_plot as rank_histogram_plot,
        spread_skill_plot as spread_skill_plot,
    )
    from physdiff.plots.maps import ensemble_maps as ensemble_maps, map_plot as map_plot
    from physdiff.plots.spectra import spectral_ratio_plot as spectral_ratio_plot, spectrum_plot as spectrum_plot
    from physdiff.plots.trajectories import fan_plot as fan_plot, scores_plot as scores_plot, training_curve as training_curve
    from physdiff.report.forecast_page import forecast_report as forecast_report
    from physdiff.report.html import Section as Section, Table as Table, to_picture as to_picture, write_report as write_report
    from physdiff.report.posterior_page import posterior_report_page as posterior_report_page
    from physdiff.scores.coverage import central_interval as central_interval, coverage as coverage
    from physdiff.scores.crps import crps as crps
    from physdiff.scores.energy_score import energy_score as energy_score
    from physdiff.scores.pointwise import acc as acc, bias as bias, ensemble_rmse as ensemble_rmse, mae as mae, rmse as rmse
    from physdiff.scores.rank_histogram import rank_histogram as rank_histogram
    from physdiff.scores.reduce import Averaged as Averaged, Score as Score
    from physdiff.scores.spectrum import log_spectral_distance as log_spectral_distance
    from physdiff.scores.spread_skill import spread as spread, spread_skill as spread_skill
    from physdiff.solvers.chang_cooper import ChangCooper as ChangCooper
    from physdiff.solvers.darcy import solve_darcy as solve_darcy
    from physdiff.solvers.etdrk import ETDRK2 as ETDRK2, ETDRK4 as ETDRK4
    from physdiff.solvers.finite_volume import FiniteVolume as FiniteVolume
    from physdiff.solvers.imex import CNAB2 as CNAB2, ImexRungeKutta as ImexRungeKutta, ImexTableau as ImexTableau
    from physdiff.solvers.implicit import DiagonalTableau as DiagonalTableau, ImplicitRungeKutta as ImplicitRungeKutta
    from physdiff.solvers.implicit_diffusion import ImplicitDiffusion as ImplicitDiffusion
    from physdiff.solvers.initial import InitialField as InitialField, RandomField as RandomField
    from physdiff.solvers.newton import Newton as Newton
    from physdiff.solvers.projection import ProjectedRungeKutta as ProjectedRungeKutta
    from physdiff.solvers.reconstruction import MUSCL as MUSCL, WENO5 as WENO5, PiecewiseConstant as PiecewiseConstant
    from physdiff.solvers.riemann import HLL as HLL, HLLC as HLLC, Godunov as Godunov, Rusanov as Rusanov
    from physdiff.solvers.runge_kutta import (
        EmbeddedPair as EmbeddedPair,
        EmbeddedRungeKutta as EmbeddedRungeKutta,
        RungeKutta as RungeKutta,
        Tableau as Tableau,
    )
    from physdiff.solvers.semi_lagrangian import SemiLagrangian as SemiLagrangian
    from physdiff.solvers.solve import solve as solve
    from physdiff.solvers.stepper import Stepper as Stepper
    from physdiff.solvers.two_point_flux import TwoPointFlux as TwoPointFlux
    from physdiff.training.datamodule import TrajectoryDataModule as TrajectoryDataModule
    from physdiff.training.diffusion_module import DiffusionModule as DiffusionModule
    from physdiff.training.fit import fit as fit
    from physdiff.training.recipe import Recipe as Recipe, prepare as prepare
    from physdiff.transforms.anomaly import Anomaly as Anomaly, Increment as Increment, SubtractGuess as SubtractGuess
    from physdiff.transforms.compose import Compose as Compose
    from physdiff.transforms.condition import ConditionTransform as ConditionTransform
    from physdiff.transforms.frames import DropHistory as DropHistory, FramesToChannels as FramesToChannels
    from physdiff.transforms.linear_forecast import LinearForecast as LinearForecast
    from physdiff.transforms.normalizer import Normalizer as Normalizer
    from physdiff.transforms.transform import Transform as Transform
    from physdiff.transforms.wavelet import WaveletTransform as WaveletTransform
else:

    def __getattr__(name: str) -> object:
        """Load the room that defines `name` (PEP 562)."""
        if name not in _DOOR:
            raise AttributeError(f"module 'physdiff' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_DOOR[name]), name)
        return value
