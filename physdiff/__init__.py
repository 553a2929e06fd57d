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
    "GaussianDenoiser": "physdiff.diffusion.analytic",
    "MixtureDenoiser": "physdiff.diffusion.analytic",
    "build_prior": "physdiff.diffusion.build",
    "Denoiser": "physdiff.diffusion.denoiser",
    "DiffusionPrior": "physdiff.diffusion.diffusion_prior",
    "CosineSchedule": "physdiff.diffusion.schedule",
    "EDMSchedule": "physdiff.diffusion.schedule",
    "RectifiedSchedule": "physdiff.diffusion.schedule",
    "Schedule": "physdiff.diffusion.schedule",
    "VPSchedule": "physdiff.diffusion.schedule",
    "climatology": "physdiff.evaluation.climatology",
    "evaluate": "physdiff.evaluation.evaluate",
    "kriging": "physdiff.evaluation.kriging",
    "linear_inverse": "physdiff.evaluation.linear_inverse",
    "field_covariance": "physdiff.evaluation.optimal_interpolation",
    "optimal_interpolation": "physdiff.evaluation.optimal_interpolation",
    "dressed_persistence": "physdiff.evaluation.persistence",
    "persistence": "physdiff.evaluation.persistence",
    "physics_residual": "physdiff.evaluation.physics",
    "Rollout": "physdiff.forecast.rollout",
    "rollout": "physdiff.forecast.rollout",
    "CartesianGrid": "physdiff.grids.cartesian",
    "Fields": "physdiff.grids.field_spec",
    "FieldSpec": "physdiff.grids.field_spec",
    "Grid": "physdiff.grids.grid",
    "interpolation": "physdiff.grids.interpolate",
    "LatLonGrid": "physdiff.grids.latlon",
    "Ensemble": "physdiff.inference.ensemble",
    "Guided": "physdiff.inference.guided",
    "GuidedDenoiser": "physdiff.inference.guided",
    "GaussianNoise": "physdiff.inference.noise",
    "LinearOperator": "physdiff.inference.observation",
    "Observation": "physdiff.inference.observation",
    "Operator": "physdiff.inference.observation",
    "PhysicsResidual": "physdiff.inference.physics",
    "Posterior": "physdiff.inference.posterior",
    "PosteriorSampler": "physdiff.inference.posterior",
    "Sensors": "physdiff.inference.sensors",
    "MLP": "physdiff.networks.mlp",
    "UNet": "physdiff.networks.unet",
    "FiniteDifference": "physdiff.operators.finite_difference",
    "Operators": "physdiff.operators.operators",
    "PoissonOperators": "physdiff.operators.operators",
    "AdvectionDiffusion": "physdiff.pdes.advection_diffusion",
    "Burgers": "physdiff.pdes.burgers",
    "NavierStokes": "physdiff.pdes.navier_stokes",
    "PDE": "physdiff.pdes.pde",
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
    "coverage": "physdiff.scores.coverage",
    "crps": "physdiff.scores.crps",
    "energy_score": "physdiff.scores.energy_score",
    "acc": "physdiff.scores.pointwise",
    "bias": "physdiff.scores.pointwise",
    "ensemble_rmse": "physdiff.scores.pointwise",
    "mae": "physdiff.scores.pointwise",
    "rmse": "physdiff.scores.pointwise",
    "rank_histogram": "physdiff.scores.rank_histogram",
    "log_spectral_distance": "physdiff.scores.spectrum",
    "spread": "physdiff.scores.spread_skill",
    "spread_skill": "physdiff.scores.spread_skill",
    "Anomaly": "physdiff.transforms.anomaly",
    "SubtractGuess": "physdiff.transforms.anomaly",
    "Compose": "physdiff.transforms.compose",
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
    from physdiff.diffusion.analytic import GaussianDenoiser as GaussianDenoiser
    from physdiff.diffusion.analytic import MixtureDenoiser as MixtureDenoiser
    from physdiff.diffusion.build import build_prior as build_prior
    from physdiff.diffusion.denoiser import Denoiser as Denoiser
    from physdiff.diffusion.diffusion_prior import DiffusionPrior as DiffusionPrior
    from physdiff.diffusion.schedule import CosineSchedule as CosineSchedule
    from physdiff.diffusion.schedule import EDMSchedule as EDMSchedule
    from physdiff.diffusion.schedule import RectifiedSchedule as RectifiedSchedule
    from physdiff.diffusion.schedule import Schedule as Schedule
    from physdiff.diffusion.schedule import VPSchedule as VPSchedule
    from physdiff.evaluation.climatology import climatology as climatology
    from physdiff.evaluation.evaluate import evaluate as evaluate
    from physdiff.evaluation.kriging import kriging as kriging
    from physdiff.evaluation.linear_inverse import linear_inverse as linear_inverse
    from physdiff.evaluation.optimal_interpolation import field_covariance as field_covariance
    from physdiff.evaluation.optimal_interpolation import optimal_interpolation as optimal_interpolation
    from physdiff.evaluation.persistence import dressed_persistence as dressed_persistence
    from physdiff.evaluation.persistence import persistence as persistence
    from physdiff.evaluation.physics import physics_residual as physics_residual
    from physdiff.forecast.rollout import Rollout as Rollout
    from physdiff.forecast.rollout import rollout as rollout
    from physdiff.grids.cartesian import CartesianGrid as CartesianGrid
    from physdiff.grids.field_spec import Fields as Fields
    from physdiff.grids.field_spec import FieldSpec as FieldSpec
    from physdiff.grids.grid import Grid as Grid
    from physdiff.grids.interpolate import interpolation as interpolation
    from physdiff.grids.latlon import LatLonGrid as LatLonGrid
    from physdiff.inference.ensemble import Ensemble as Ensemble
    from physdiff.inference.guided import Guided as Guided
    from physdiff.inference.guided import GuidedDenoiser as GuidedDenoiser
    from physdiff.inference.noise import GaussianNoise as GaussianNoise
    from physdiff.inference.observation import LinearOperator as LinearOperator
    from physdiff.inference.observation import Observation as Observation
    from physdiff.inference.observation import Operator as Operator
    from physdiff.inference.physics import PhysicsResidual as PhysicsResidual
    from physdiff.inference.posterior import Posterior as Posterior
    from physdiff.inference.posterior import PosteriorSampler as PosteriorSampler
    from physdiff.inference.sensors import Sensors as Sensors
    from physdiff.networks.mlp import MLP as MLP
    from physdiff.networks.unet import UNet as UNet
    from physdiff.operators.finite_difference import FiniteDifference as FiniteDifference
    from physdiff.operators.operators import Operators as Operators
    from physdiff.operators.operators import PoissonOperators as PoissonOperators
    from physdiff.pdes.advection_diffusion import AdvectionDiffusion as AdvectionDiffusion
    from physdiff.pdes.burgers import Burgers as Burgers
    from physdiff.pdes.navier_stokes import NavierStokes as NavierStokes
    from physdiff.pdes.pde import PDE as PDE
    from physdiff.plots.calibration import coverage_plot as coverage_plot
    from physdiff.plots.calibration import rank_histogram_plot as rank_histogram_plot
    from physdiff.plots.calibration import spread_skill_plot as spread_skill_plot
    from physdiff.plots.maps import ensemble_maps as ensemble_maps
    from physdiff.plots.maps import map_plot as map_plot
    from physdiff.plots.spectra import spectral_ratio_plot as spectral_ratio_plot
    from physdiff.plots.spectra import spectrum_plot as spectrum_plot
    from physdiff.plots.trajectories import fan_plot as fan_plot
    from physdiff.plots.trajectories import scores_plot as scores_plot
    from physdiff.plots.trajectories import training_curve as training_curve
    from physdiff.report.forecast_page import forecast_report as forecast_report
    from physdiff.report.html import Section as Section
    from physdiff.report.html import Table as Table
    from physdiff.report.html import to_picture as to_picture
    from physdiff.report.html import write_report as write_report
    from physdiff.report.posterior_page import posterior_report_page as posterior_report_page
    from physdiff.scores.coverage import coverage as coverage
    from physdiff.scores.crps import crps as crps
    from physdiff.scores.energy_score import energy_score as energy_score
    from physdiff.scores.pointwise import acc as acc
    from physdiff.scores.pointwise import bias as bias
    from physdiff.scores.pointwise import ensemble_rmse as ensemble_rmse
    from physdiff.scores.pointwise import mae as mae
    from physdiff.scores.pointwise import rmse as rmse
    from physdiff.scores.rank_histogram import rank_histogram as rank_histogram
    from physdiff.scores.spectrum import log_spectral_distance as log_spectral_distance
    from physdiff.scores.spread_skill import spread as spread
    from physdiff.scores.spread_skill import spread_skill as spread_skill
    from physdiff.transforms.anomaly import Anomaly as Anomaly
    from physdiff.transforms.anomaly import SubtractGuess as SubtractGuess
    from physdiff.transforms.compose import Compose as Compose
    from physdiff.transforms.frames import DropHistory as DropHistory
    from physdiff.transforms.frames import FramesToChannels as FramesToChannels
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
