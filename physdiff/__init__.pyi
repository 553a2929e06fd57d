"""The names of the door for type checkers; at run time ``__init__.py`` loads them when they are first asked for."""

from physdiff.base.errors import PhysdiffError as PhysdiffError
from physdiff.base.gaussian import Gaussian as Gaussian
from physdiff.base.rng import Rng as Rng
from physdiff.base.saved import Saved as Saved
from physdiff.data.captions import HashedWords as HashedWords, known_captions as known_captions, with_captions as with_captions
from physdiff.data.convert import spec_of as spec_of, to_dataset as to_dataset, to_tensor as to_tensor
from physdiff.data.field_statistics import check_like as check_like, data_card as data_card, field_statistics as field_statistics
from physdiff.data.fingerprint import fingerprint as fingerprint
from physdiff.data.generate import generate as generate
from physdiff.data.inspect import inspect_file as inspect_file
from physdiff.data.loader import load_batches as load_batches
from physdiff.data.open import open_dataset as open_dataset, open_forecast as open_forecast
from physdiff.data.regrid import regrid as regrid, subset as subset
from physdiff.data.rewrite import rewrite as rewrite
from physdiff.data.split import split_samples as split_samples, split_time as split_time
from physdiff.data.statistics import fitted as fitted
from physdiff.data.tasks import TaskWindows as TaskWindows, task_condition as task_condition
from physdiff.data.varied_law import VariedLaw as VariedLaw
from physdiff.data.windows import (
    TrajectoryWindows as TrajectoryWindows,
    WindowRange as WindowRange,
    condition as condition,
    condition_spec as condition_spec,
)
from physdiff.data.write import write_dataset as write_dataset
from physdiff.diffusion.analytic import GaussianDenoiser as GaussianDenoiser, MixtureDenoiser as MixtureDenoiser
from physdiff.diffusion.bridge import (
    BridgeSampler as BridgeSampler,
    BridgeSchedule as BridgeSchedule,
    BrownianBridge as BrownianBridge,
    DriftDenoiser as DriftDenoiser,
    MeanRevertingSchedule as MeanRevertingSchedule,
    walk_bridge as walk_bridge,
    walk_to_mean as walk_to_mean,
)
from physdiff.diffusion.centred import (
    CentredDenoiser as CentredDenoiser,
    around_mean as around_mean,
    around_residuals as around_residuals,
    residual_noise as residual_noise,
)
from physdiff.diffusion.clamped import clamped as clamped
from physdiff.diffusion.coupled_flow import CoupledFlow as CoupledFlow, CoupledPrior as CoupledPrior
from physdiff.diffusion.covariance import low_rank_covariance as low_rank_covariance, spectral_covariance as spectral_covariance
from physdiff.diffusion.denoiser import Denoiser as Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior as DiffusionPrior
from physdiff.diffusion.dropout_ensemble import DropoutEnsemble as DropoutEnsemble
from physdiff.diffusion.forecaster import Forecaster as Forecaster
from physdiff.diffusion.input_perturbed import InputPerturbed as InputPerturbed
from physdiff.diffusion.interpolant import Drift as Drift, GaussianDrift as GaussianDrift, Interpolant as Interpolant
from physdiff.diffusion.interpolant_prior import InterpolantPrior as InterpolantPrior
from physdiff.diffusion.interpolant_sampler import InterpolantSampler as InterpolantSampler
from physdiff.diffusion.network_drift import ConservingDrift as ConservingDrift, NetworkDrift as NetworkDrift
from physdiff.diffusion.preconditioned import PreconditionedDenoiser as PreconditionedDenoiser
from physdiff.diffusion.refiner import Refiner as Refiner
from physdiff.diffusion.sample_covariance import pairwise_distance as pairwise_distance, tapered_covariance as tapered_covariance
from physdiff.diffusion.samplers.ddim import DDIM as DDIM, DDPM as DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M as DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle as DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE as ERSDE, ERSDEMultistep as ERSDEMultistep
from physdiff.diffusion.samplers.exact_linear import ExactLinear as ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep as ExponentialMultistep, UniPC as UniPC
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep as FittedMultistep
from physdiff.diffusion.samplers.fixed_grid import FixedGrid as FixedGrid
from physdiff.diffusion.samplers.genie import GENIE as GENIE
from physdiff.diffusion.samplers.heun import Heun as Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected as LangevinCorrected
from physdiff.diffusion.samplers.probability_flow import ProbabilityFlow as ProbabilityFlow, log_likelihood as log_likelihood
from physdiff.diffusion.samplers.restart import Restart as Restart
from physdiff.diffusion.samplers.sampler import KernelSampler as KernelSampler, Sampler as Sampler
from physdiff.diffusion.samplers.sde_single import SDESolverSingle as SDESolverSingle
from physdiff.diffusion.samplers.timesteps import timesteps as timesteps
from physdiff.diffusion.schedule import (
    CosineSchedule as CosineSchedule,
    EDMSchedule as EDMSchedule,
    RectifiedSchedule as RectifiedSchedule,
    Schedule as Schedule,
    VESchedule as VESchedule,
    VPSchedule as VPSchedule,
)
from physdiff.diffusion.special_schedules import (
    DecaySchedule as DecaySchedule,
    DiscreteSchedule as DiscreteSchedule,
    ShiftedSchedule as ShiftedSchedule,
    SubVPSchedule as SubVPSchedule,
)
from physdiff.diffusion.taper_choice import Taper as Taper, choose_inflation as choose_inflation, choose_taper as choose_taper
from physdiff.diffusion.weight_ensemble import WeightEnsemble as WeightEnsemble
from physdiff.evaluation.atmosphere_check import atmosphere_check as atmosphere_check
from physdiff.evaluation.climatology import climatology as climatology
from physdiff.evaluation.compare import against_baselines as against_baselines, compare as compare, read_scores as read_scores
from physdiff.evaluation.consistency import ConsistencyTerm as ConsistencyTerm
from physdiff.evaluation.diagnose import diagnose as diagnose
from physdiff.evaluation.evaluate import evaluate as evaluate
from physdiff.evaluation.event_fields import event_fields as event_fields, return_fields as return_fields
from physdiff.evaluation.fit_multistep import fit_multistep as fit_multistep
from physdiff.evaluation.kriging import kriging as kriging
from physdiff.evaluation.linear_inverse import linear_inverse as linear_inverse, zonal_regression as zonal_regression
from physdiff.evaluation.match_spread import match_spread as match_spread
from physdiff.evaluation.optimal_interpolation import field_covariance as field_covariance, optimal_interpolation as optimal_interpolation
from physdiff.evaluation.path_grid import cheapest_path as cheapest_path, divergence_costs as divergence_costs, step_costs as step_costs
from physdiff.evaluation.persistence import (
    damped_persistence as damped_persistence,
    dressed_persistence as dressed_persistence,
    persistence as persistence,
)
from physdiff.evaluation.physics import physics_residual as physics_residual
from physdiff.evaluation.posterior_report import Trials as Trials, posterior_report as posterior_report
from physdiff.evaluation.sampler_gain import sampler_gain as sampler_gain
from physdiff.evaluation.seasonal_climatology import seasonal_climatology as seasonal_climatology
from physdiff.evaluation.significance import paired_difference as paired_difference, score_interval as score_interval
from physdiff.evaluation.tune_sampler import TunedSampler as TunedSampler, TuningEffort as TuningEffort, tune_sampler as tune_sampler
from physdiff.forecast.analysis import (
    Analysis as Analysis,
    KalmanAnalysis as KalmanAnalysis,
    ParticleAnalysis as ParticleAnalysis,
    PosteriorAnalysis as PosteriorAnalysis,
)
from physdiff.forecast.assimilate import assimilate as assimilate
from physdiff.forecast.cascade import upscale as upscale
from physdiff.forecast.forecast_models import (
    ForecastModel as ForecastModel,
    PriorModel as PriorModel,
    SolverModel as SolverModel,
    StepModel as StepModel,
)
from physdiff.forecast.readings import Readings as Readings, read_readings as read_readings
from physdiff.forecast.reconstruct import reconstruct as reconstruct
from physdiff.forecast.rollout import Rollout as Rollout, rollout as rollout
from physdiff.forecast.steered import Wish as Wish, steer_trajectories as steer_trajectories
from physdiff.forecast.trajectories import draw_trajectories as draw_trajectories
from physdiff.forecast.twin import assimilation_scores as assimilation_scores, twin_experiment as twin_experiment
from physdiff.grids.boundary import Dirichlet as Dirichlet, Neumann as Neumann, Outflow as Outflow, Reflecting as Reflecting, Robin as Robin
from physdiff.grids.cartesian import CartesianGrid as CartesianGrid
from physdiff.grids.field_spec import Fields as Fields, FieldSpec as FieldSpec
from physdiff.grids.grid import Grid as Grid
from physdiff.grids.interpolate import interpolation as interpolation
from physdiff.grids.latlon import LatLonGrid as LatLonGrid
from physdiff.grids.points import PointGrid as PointGrid
from physdiff.inference.chains import Chains as Chains, run_chains as run_chains
from physdiff.inference.constraints import (
    ConstrainedDenoiser as ConstrainedDenoiser,
    condition_gaussian as condition_gaussian,
    constrain as constrain,
    constrained_flow as constrained_flow,
    ensemble_covariance as ensemble_covariance,
    project as project,
)
from physdiff.inference.control import ReadoutObjective as ReadoutObjective, control as control
from physdiff.inference.ensemble import Ensemble as Ensemble
from physdiff.inference.ensemble_guided import EnsembleGuided as EnsembleGuided
from physdiff.inference.ensemble_inversion import eki as eki
from physdiff.inference.ensemble_kalman import enkf as enkf, etkf as etkf, gaspari_cohn as gaspari_cohn, inflated as inflated, letkf as letkf
from physdiff.inference.ensemble_posterior import EnsembleKalman as EnsembleKalman
from physdiff.inference.ensemble_smoother import enks as enks
from physdiff.inference.exact import FieldTarget as FieldTarget, GaussianTarget as GaussianTarget, MixtureTarget as MixtureTarget
from physdiff.inference.exact_posterior import ExactMixture as ExactMixture, exact_posterior as exact_posterior
from physdiff.inference.feynman_kac import AnnealedSMC as AnnealedSMC
from physdiff.inference.guided import Guided as Guided, GuidedDenoiser as GuidedDenoiser
from physdiff.inference.hamiltonian import hmc_move as hmc_move, nuts_move as nuts_move
from physdiff.inference.hmc import HMC as HMC, NUTS as NUTS
from physdiff.inference.mapped import (
    BlackBox as BlackBox,
    Mapped as Mapped,
    MappedLinear as MappedLinear,
    compose as compose,
    divergence as divergence,
    joined as joined,
    time_means as time_means,
    vorticity as vorticity,
    wind_speed as wind_speed,
)
from physdiff.inference.mixing import bulk_size as bulk_size, split_rhat as split_rhat, tail_size as tail_size
from physdiff.inference.network_guided import NetworkGuidedDenoiser as NetworkGuidedDenoiser
from physdiff.inference.noise import (
    CorrelatedNoise as CorrelatedNoise,
    GaussianNoise as GaussianNoise,
    Noise as Noise,
    NormalNoise as NormalNoise,
    PoissonNoise as PoissonNoise,
    StudentNoise as StudentNoise,
    ThresholdNoise as ThresholdNoise,
)
from physdiff.inference.observation import (
    LinearOperator as LinearOperator,
    MatrixOperator as MatrixOperator,
    Observation as Observation,
    Operator as Operator,
)
from physdiff.inference.physics import PhysicsResidual as PhysicsResidual, calibrated as calibrated
from physdiff.inference.posterior import Posterior as Posterior, PosteriorSampler as PosteriorSampler
from physdiff.inference.restoration import Restoration as Restoration
from physdiff.inference.sensor_choice import choose_sensors as choose_sensors
from physdiff.inference.sensors import Sensors as Sensors, read_stations as read_stations
from physdiff.inference.sharding import Sharded as Sharded
from physdiff.inference.smc import FeynmanKac as FeynmanKac, SMCRun as SMCRun, run_smc as run_smc
from physdiff.inference.solenoidal import Solenoidal as Solenoidal
from physdiff.inference.solved import Solved as Solved
from physdiff.inference.splitting import DAPS as DAPS, DiffPIR as DiffPIR, REDDiff as REDDiff, SplitGibbs as SplitGibbs
from physdiff.inference.state_space import (
    LinearGaussian as LinearGaussian,
    StateSpace as StateSpace,
    kalman as kalman,
    particle_filter as particle_filter,
)
from physdiff.inference.tempered_smc import TemperedSMC as TemperedSMC
from physdiff.inference.trajectory_prior import ComposedDenoiser as ComposedDenoiser, trajectory_prior as trajectory_prior
from physdiff.inference.twisted_smc import TwistedSMC as TwistedSMC
from physdiff.inference.warm_start import WarmStart as WarmStart
from physdiff.inference.weighted_cells import (
    WeightedCells as WeightedCells,
    block_means as block_means,
    footprints as footprints,
    grid_cells as grid_cells,
    line_integrals as line_integrals,
)
from physdiff.inference.weights import LogWeights as LogWeights
from physdiff.networks.averaged import AveragedNetwork as AveragedNetwork
from physdiff.networks.cno import CNO as CNO
from physdiff.networks.deeponet import DeepONet as DeepONet
from physdiff.networks.embedding import PeriodicFeatures as PeriodicFeatures
from physdiff.networks.field_network import FieldNetwork as FieldNetwork
from physdiff.networks.fno import FFNO as FFNO, FNO as FNO
from physdiff.networks.mlp import MLP as MLP, FourierMLP as FourierMLP
from physdiff.networks.mode_network import ModeNetwork as ModeNetwork
from physdiff.networks.modified_mlp import ModifiedMLP as ModifiedMLP, PirateNet as PirateNet
from physdiff.networks.mwt import MWT as MWT
from physdiff.networks.noise_channels import NoiseChannels as NoiseChannels
from physdiff.networks.point_network import PointNetwork as PointNetwork
from physdiff.networks.point_operator import PointOperator as PointOperator
from physdiff.networks.separable import SeparableNetwork as SeparableNetwork
from physdiff.networks.siren import SIREN as SIREN
from physdiff.networks.transformer import AxialViT as AxialViT, DiT as DiT
from physdiff.networks.transolver import Transolver as Transolver
from physdiff.networks.ufno import UFNO as UFNO
from physdiff.networks.unet import UNet as UNet
from physdiff.networks.wno import WNO as WNO
from physdiff.operators.autograd import Autograd as Autograd
from physdiff.operators.finite_difference import FiniteDifference as FiniteDifference
from physdiff.operators.fourier_symbol import FourierSymbol as FourierSymbol
from physdiff.operators.lattice import Lattice as Lattice
from physdiff.operators.operators import Operators as Operators, PoissonOperators as PoissonOperators
from physdiff.operators.spectral import Spectral as Spectral
from physdiff.operators.sphere import Sphere as Sphere
from physdiff.operators.taylor import Taylor as Taylor, derivatives_needed as derivatives_needed
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
from physdiff.pinn.broyden import SelfScaledBroyden as SelfScaledBroyden
from physdiff.pinn.collocated import Collocated as Collocated, Known as Known, Matched as Matched
from physdiff.pinn.collocation import (
    CausalGate as CausalGate,
    UniformPoints as UniformPoints,
    add_by_residual as add_by_residual,
    add_largest as add_largest,
    in_time_order as in_time_order,
    redraw_by_residual as redraw_by_residual,
    retain_resample as retain_resample,
)
from physdiff.pinn.condition_choice import ConditionTrial as ConditionTrial, choose_conditions as choose_conditions
from physdiff.pinn.coordinate_net import CoordinateNet as CoordinateNet
from physdiff.pinn.fractional import caputo as caputo, graded_times as graded_times
from physdiff.pinn.gaussian_solver import GaussianSolution as GaussianSolution, kernel_solve as kernel_solve
from physdiff.pinn.gradients import (
    conflict_free_gradient as conflict_free_gradient,
    gradients_of as gradients_of,
    project_gradients as project_gradients,
    set_gradient as set_gradient,
    tangent_kernel_trace as tangent_kernel_trace,
)
from physdiff.pinn.kronecker_solver import kronecker_solve as kronecker_solve
from physdiff.pinn.lagrangian import (
    Branches as Branches,
    Lagrangian as Lagrangian,
    labels_on_grid as labels_on_grid,
    lagrangian_on_grid as lagrangian_on_grid,
)
from physdiff.pinn.levenberg_marquardt import (
    Damped as Damped,
    LevenbergMarquardt as LevenbergMarquardt,
    levenberg_marquardt as levenberg_marquardt,
)
from physdiff.pinn.mixture_kernel import KernelOperators as KernelOperators, MixtureKernel as MixtureKernel
from physdiff.pinn.soap import SOAP as SOAP
from physdiff.pinn.time_windows import TimeWindows as TimeWindows
from physdiff.pinn.weighting import (
    AscendingWeights as AscendingWeights,
    CausalWeights as CausalWeights,
    RelativeLossWeights as RelativeLossWeights,
    ResidualAttention as ResidualAttention,
    causal_weights as causal_weights,
    gradient_norm_weights as gradient_norm_weights,
    learning_rate_weights as learning_rate_weights,
    smoothed_weights as smoothed_weights,
    tangent_kernel_weights as tangent_kernel_weights,
    time_chunks as time_chunks,
)
from physdiff.pinn.windowed_net import WindowedNet as WindowedNet, cut_conditions as cut_conditions
from physdiff.plots.animation import field_frames as field_frames, save_animation as save_animation
from physdiff.plots.calibration import (
    coverage_plot as coverage_plot,
    rank_histogram_plot as rank_histogram_plot,
    reliability_plot as reliability_plot,
    spread_skill_plot as spread_skill_plot,
)
from physdiff.plots.coasts import coast_lines as coast_lines
from physdiff.plots.collocation import looks_plot as looks_plot, residual_maps as residual_maps
from physdiff.plots.diagnosis import diagnosis_plot as diagnosis_plot
from physdiff.plots.flow import arrow_plot as arrow_plot, hovmoeller_plot as hovmoeller_plot
from physdiff.plots.maps import ensemble_frames as ensemble_frames, ensemble_maps as ensemble_maps, map_plot as map_plot
from physdiff.plots.posterior_checks import posterior_checks_plot as posterior_checks_plot, rank_ecdf_plot as rank_ecdf_plot
from physdiff.plots.spaghetti import spaghetti_plot as spaghetti_plot
from physdiff.plots.spectra import spectral_ratio_plot as spectral_ratio_plot, spectrum_plot as spectrum_plot
from physdiff.plots.trajectories import (
    band_plot as band_plot,
    fan_plot as fan_plot,
    scores_plot as scores_plot,
    training_curve as training_curve,
)
from physdiff.report.calibration_page import calibration_report as calibration_report
from physdiff.report.compare_page import compare_report as compare_report
from physdiff.report.forecast_page import forecast_report as forecast_report
from physdiff.report.html import (
    Section as Section,
    Slides as Slides,
    Table as Table,
    to_picture as to_picture,
    write_report as write_report,
)
from physdiff.report.posterior_page import posterior_report_page as posterior_report_page
from physdiff.scores.band import band_coverage as band_coverage, band_holds as band_holds, band_width as band_width, interval_score as interval_score
from physdiff.scores.conservation import integral_drift as integral_drift, integral_error as integral_error
from physdiff.scores.correlation_time import high_correlation_time as high_correlation_time
from physdiff.scores.coverage import central_interval as central_interval, coverage as coverage, sharpness as sharpness
from physdiff.scores.crps import crps as crps
from physdiff.scores.energy_score import energy_score as energy_score
from physdiff.scores.events import (
    brier_score as brier_score,
    quantile_score as quantile_score,
    reliability as reliability,
    roc_area as roc_area,
    threshold_crps as threshold_crps,
)
from physdiff.scores.log_score import gaussian_log_score as gaussian_log_score, kernel_log_score as kernel_log_score
from physdiff.scores.pit import pit as pit
from physdiff.scores.pointwise import (
    acc as acc,
    bias as bias,
    correlation as correlation,
    ensemble_rmse as ensemble_rmse,
    mae as mae,
    rmse as rmse,
    vrmse as vrmse,
)
from physdiff.scores.rank_histogram import rank_histogram as rank_histogram
from physdiff.scores.reduce import Averaged as Averaged, Score as Score
from physdiff.scores.return_level import event_probability as event_probability, return_level as return_level
from physdiff.scores.spectrum import log_spectral_distance as log_spectral_distance, spectral_coherence as spectral_coherence
from physdiff.scores.spread_skill import spread as spread, spread_skill as spread_skill
from physdiff.scores.tarp import tarp_rank as tarp_rank
from physdiff.scores.trajectory_variance import restless as restless, trajectory_variance as trajectory_variance
from physdiff.scores.uniformity import (
    adjusted_p_values as adjusted_p_values,
    rank_band as rank_band,
    rank_chi2 as rank_chi2,
    rank_p_value as rank_p_value,
)
from physdiff.scores.variogram import structure_function as structure_function, variogram_score as variogram_score
from physdiff.solvers.chang_cooper import ChangCooper as ChangCooper
from physdiff.solvers.darcy import solve_darcy as solve_darcy
from physdiff.solvers.etdrk import ETDRK2 as ETDRK2, ETDRK4 as ETDRK4, StrehmelWeiner as StrehmelWeiner
from physdiff.solvers.finite_volume import FiniteVolume as FiniteVolume
from physdiff.solvers.imex import CNAB2 as CNAB2, ImexRungeKutta as ImexRungeKutta, ImexTableau as ImexTableau
from physdiff.solvers.implicit import DiagonalTableau as DiagonalTableau, ImplicitRungeKutta as ImplicitRungeKutta
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion as ImplicitDiffusion
from physdiff.solvers.initial import InitialField as InitialField, RandomField as RandomField
from physdiff.solvers.markov_chain import MarkovChain as MarkovChain
from physdiff.solvers.newton import Newton as Newton
from physdiff.solvers.projection import ProjectedRungeKutta as ProjectedRungeKutta
from physdiff.solvers.random_state import RandomState as RandomState
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
from physdiff.solvers.staggered import StaggeredFlow as StaggeredFlow
from physdiff.solvers.stepper import Stepper as Stepper
from physdiff.solvers.stepper_for import stepper_for as stepper_for
from physdiff.solvers.two_point_flux import TwoPointFlux as TwoPointFlux
from physdiff.solvers.weak_residual import weak_residual as weak_residual
from physdiff.training.autoencoder_module import AutoencoderLosses as AutoencoderLosses, AutoencoderModule as AutoencoderModule
from physdiff.training.build import build_prior as build_prior
from physdiff.training.callbacks.best_weights import BestWeights as BestWeights
from physdiff.training.callbacks.run_report import RunReport as RunReport
from physdiff.training.callbacks.save_on_signal import SaveOnSignal as SaveOnSignal
from physdiff.training.callbacks.window_figure import WindowFigure as WindowFigure
from physdiff.training.checkpoint_prior import prior_from_checkpoint as prior_from_checkpoint
from physdiff.training.cross_fit import ResidualWindows as ResidualWindows, cross_fit as cross_fit, residual_part as residual_part
from physdiff.training.datamodule import TrajectoryDataModule as TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule as DiffusionModule
from physdiff.training.fit import fit as fit
from physdiff.training.fit_autoencoder import AutoencoderTraining as AutoencoderTraining, fit_autoencoder as fit_autoencoder
from physdiff.training.fit_pinn import fit_pinn as fit_pinn
from physdiff.training.network_share import network_share as network_share, with_share as with_share
from physdiff.training.operator_module import OperatorModule as OperatorModule
from physdiff.training.pattern_prior import in_patterns as in_patterns, pattern_noise as pattern_noise
from physdiff.training.pinn_conditions import Conditions as Conditions, box_and_known as box_and_known
from physdiff.training.pinn_module import EndlessSteps as EndlessSteps, PINNModule as PINNModule
from physdiff.training.pinn_reference import trained_dataset as trained_dataset
from physdiff.training.pinn_settings import (
    Descent as Descent,
    LossBalance as LossBalance,
    PINNTraining as PINNTraining,
    Resampling as Resampling,
)
from physdiff.training.recipe import Recipe as Recipe, prepare as prepare
from physdiff.training.recompute import recomputed as recomputed
from physdiff.training.trajectories import prepare_trajectories as prepare_trajectories
from physdiff.training.views import Views as Views
from physdiff.transforms.anomaly import Anomaly as Anomaly, Increment as Increment, SubtractGuess as SubtractGuess
from physdiff.transforms.autoencoder import Autoencoder as Autoencoder
from physdiff.transforms.compose import Compose as Compose
from physdiff.transforms.condition import ConditionTransform as ConditionTransform
from physdiff.transforms.frames import DropHistory as DropHistory, FramesToChannels as FramesToChannels
from physdiff.transforms.latent_increment import LatentIncrement as LatentIncrement
from physdiff.transforms.linear_forecast import LinearForecast as LinearForecast
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder as MeshAutoencoder
from physdiff.transforms.normalizer import Normalizer as Normalizer
from physdiff.transforms.parameters import ParameterChannels as ParameterChannels
from physdiff.transforms.patterns import PatternCondition as PatternCondition, Patterns as Patterns
from physdiff.transforms.transform import Transform as Transform
from physdiff.transforms.wavelet import WaveletTransform as WaveletTransform
from physdiff.transforms.zonal_forecast import ZonalForecast as ZonalForecast
from physdiff.uq.calibrate import band_members as band_members, calibrate as calibrate
from physdiff.uq.conformal import conformal_quantile as conformal_quantile, coverage_law as coverage_law
from physdiff.uq.deep_ensemble import deep_ensemble as deep_ensemble, perturbed as perturbed
from physdiff.uq.dropout import dropout_draws as dropout_draws, masked_weights as masked_weights, train_with_dropout as train_with_dropout
from physdiff.uq.input_ensemble import input_ensemble as input_ensemble, state_differences as state_differences
from physdiff.uq.ipinner import (
    ipinner as ipinner,
    niche_selection as niche_selection,
    pareto_fronts as pareto_fronts,
    reference_directions as reference_directions,
)
from physdiff.uq.isotonic import isotonic_cdf as isotonic_cdf, isotonic_quantiles as isotonic_quantiles
from physdiff.uq.laplace import WeightGaussian as WeightGaussian, weight_laplace as weight_laplace
from physdiff.uq.operator_weights import OperatorTask as OperatorTask, last_layer_laplace as last_layer_laplace, operator_task as operator_task
from physdiff.uq.post_process import post_process as post_process
from physdiff.uq.sequential import adaptive_radius as adaptive_radius, sequential_interval as sequential_interval
from physdiff.uq.sequential_bands import sequential_bands as sequential_bands
from physdiff.uq.swag import descent_iterates as descent_iterates, swag as swag
from physdiff.uq.weight_draws import WeightDraws as WeightDraws, deviations as deviations
from physdiff.uq.weights_hmc import function_rhat as function_rhat, weight_chains as weight_chains

__version__: str
