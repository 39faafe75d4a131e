"""Light: linear scene radiance ``[B, C, H, W]`` to sensor values.

Files: ``front_end`` the interface of all cameras · ``material`` refractive indices · ``transfer``
sRGB and linear light · ``constraint`` bounded parameters · ``audit`` of gradients · ``grid``,
``fourier``, ``quantity`` sampling, transforms and checks, for all.

Subpackages, each of which imports only those before it: ``light`` lamps, filters, radiometry ·
``wave`` fields, openings, wavefronts · ``sensor`` photons to codes · ``pupil`` elements and their
point-spread function · ``lens_data`` PSFs from outside · ``imaging`` front ends and restoration ·
``rays`` lenses by ray tracing · ``fabrication`` files for makers · ``performance`` a camera in
numbers.

Lengths are metres or pixels as stated, angles radians, light a fraction of full scale unless
photons or electrons are named. ``+x`` is increasing column, ``+y`` increasing row.
"""

from .audit import (
    GradientAudit,
    GradientEntry,
    GradientFault,
    audit_gradients,
)
from .constraint import (
    Bounded,
    EnergyLimited,
    Positive,
    Symmetric,
    Symmetry,
    UnitDisk,
    bounded,
    bounded_inverse,
    clip,
    energy_limited,
    energy_limited_inverse,
    positive,
    positive_inverse,
    symmetric,
    unit_disk,
    unit_disk_inverse,
)
from .fabrication.fabrication import (
    FabricatedRelief,
    Relief,
    ReliefReport,
    export_height_map,
    import_height_map,
    relief_element,
    relief_report,
)
from .fabrication.plate_file import FabricatedPlate, PlateFiles, export_plate, import_plate
from .fourier import (
    Boundary,
    convolve,
    dft_matrix,
    matrix_dft,
)
from .front_end import FrontEnd
from .grid import coordinates, fast_size, frequencies
from .imaging.coherent import CoherentImaging, coherent_blur, phase_object, scene_field
from .imaging.fourier_filter import (
    FourierFilter,
    coherent_image,
    incoherent_image,
    partially_coherent_image,
)
from .imaging.imaging import IncoherentImaging, layered_blur
from .imaging.kernel import KernelStart, LearnedKernel, kernel_start, signed_difference
from .imaging.plate import (
    FilterStart,
    dark_field,
    filter_start,
    gaussian_pass,
    knife_edge,
    phase_contrast,
    spiral,
    zernike_filter,
)
from .imaging.projection import Projection, distort, distortion_fit, relative_illumination
from .imaging.restoration import Wiener, wiener
from .imaging.restoration_unet import RestorationUNet
from .imaging.shutter import CodedExposure, ShutterStart, motion_psf, shutter_code
from .imaging.varying import LowRankPSF, VaryingImaging, low_rank_psf, varying_blur
from .lens_data.from_mtf import PSFEstimate, psf_from_lsf, psf_from_mtf
from .lens_data.lens_design import PSFListing, ZernikeListing, import_psf, import_zernikes
from .lens_data.measured import measured_psf
from .light.colour import ColourChannels, ColourFilters, mix_colours
from .light.colour_correction import colour_correction, noise_amplification
from .light.illumination import (
    Illumination,
    annular_source,
    disc_source,
    led_tilts,
    light_budget,
    light_budget_inverse,
)
from .light.observer import camera_colours, colour_matching, daylight, observer_colours
from .light.radiometry import (
    band_irradiance,
    blackbody,
    exposure_photons,
    image_irradiance,
    interpolate_spectrum,
    luminous_efficiency,
)
from .material import (
    MATERIALS,
    abbe_number,
    refractive_index,
)
from .performance.lens_performance import (
    DepthOfField,
    LensPerformance,
    Polychromatic,
    lens_performance,
)
from .performance.sampling import SamplingAudit, audit_sampling
from .performance.slanted_edge import SlantedEdge, slanted_edge_mtf
from .performance.through_focus import ThroughFocus, through_focus
from .pupil.aberration import Aberration
from .pupil.defocus import defocus_path
from .pupil.element import (
    AmplitudeMask,
    CubicMask,
    Element,
    Lens,
    PhaseElement,
    PhaseMask,
    lens_phase,
)
from .pupil.height_map import HeightMap, height_phase, quantize_height
from .pupil.modulation import mtf, otf, otf_along, otf_from_pupil
from .pupil.psf import amplitude_spread, psf_from_pupil
from .pupil.psf_quality import encircled_energy, strehl
from .pupil.pupil import Pupil
from .pupil.vignetting import Vignetting, vignetting_shift
from .rays.compound_imaging import CompoundPupil, compound_imaging
from .rays.compound_lens import CompoundLens, lens_penalty
from .rays.lens_field import (
    LensImage,
    LensSpots,
    LensWavefronts,
    lens_image,
    lens_spots,
    lens_wavefronts,
)
from .rays.misalignment import misalign
from .rays.paraxial import FirstOrder, SeidelSums, first_order, seidel_sums, set_stop
from .rays.prescription_file import Prescription, import_prescription
from .rays.ray_trace import Rays, trace
from .rays.surface import Glass, Surface, glass_index, surface_sag
from .sensor.camera_measurement import SensorMeasurement, measure_sensor
from .sensor.converter import Converter, digitise
from .sensor.dark_current import DarkCurrent, measure_dark_current
from .sensor.mosaic import (
    ColourFilterArray,
    Demosaicing,
    Interpolation,
    Pattern,
    cfa_indices,
    demosaic,
    mosaic,
    pack_mosaic,
    unpack_mosaic,
)
from .sensor.noise import Generators, ShotNoise, poisson_log_likelihood, score_surrogate, shot_noise
from .sensor.nonuniformity import Nonuniformity
from .sensor.photon_transfer import PhotonTransfer, photon_transfer
from .sensor.pixel import bin_pixels, pixel_mtf
from .sensor.sensor import Reading, Sensor
from .transfer import linear_to_srgb, srgb_to_linear
from .wave.aperture import annular_aperture, circular_aperture, rectangular_aperture, spider
from .wave.coded_aperture import CodedPattern, coded_aperture, mura_decoder
from .wave.off_axis import field_coefficients, seidel_coefficients
from .wave.propagation import (
    FarField,
    angular_spectrum,
    fraunhofer,
    fresnel,
)
from .wave.zernike import (
    ansi_to_noll,
    fringe_to_noll,
    nm_to_noll,
    noll_to_ansi,
    noll_to_nm,
    zernike,
    zernike_basis,
)

__all__ = [
    "MATERIALS",
    "Aberration",
    "AmplitudeMask",
    "Boundary",
    "Bounded",
    "CodedExposure",
    "CodedPattern",
    "CoherentImaging",
    "ColourChannels",
    "ColourFilterArray",
    "ColourFilters",
    "CompoundLens",
    "CompoundPupil",
    "Converter",
    "CubicMask",
    "DarkCurrent",
    "Demosaicing",
    "DepthOfField",
    "Element",
    "EnergyLimited",
    "FabricatedPlate",
    "FabricatedRelief",
    "FarField",
    "FilterStart",
    "FirstOrder",
    "FourierFilter",
    "FrontEnd",
    "Generators",
    "Glass",
    "GradientAudit",
    "GradientEntry",
    "GradientFault",
    "HeightMap",
    "Illumination",
    "IncoherentImaging",
    "Interpolation",
    "KernelStart",
    "LearnedKernel",
    "Lens",
    "LensImage",
    "LensPerformance",
    "LensSpots",
    "LensWavefronts",
    "LowRankPSF",
    "Nonuniformity",
    "PSFEstimate",
    "PSFListing",
    "Pattern",
    "PhaseElement",
    "PhaseMask",
    "PhotonTransfer",
    "PlateFiles",
    "Polychromatic",
    "Positive",
    "Prescription",
    "Projection",
    "Pupil",
    "Rays",
    "Reading",
    "Relief",
    "ReliefReport",
    "RestorationUNet",
    "SamplingAudit",
    "SeidelSums",
    "Sensor",
    "SensorMeasurement",
    "ShotNoise",
    "ShutterStart",
    "SlantedEdge",
    "Surface",
    "Symmetric",
    "Symmetry",
    "ThroughFocus",
    "UnitDisk",
    "VaryingImaging",
    "Vignetting",
    "Wiener",
    "ZernikeListing",
    "abbe_number",
    "amplitude_spread",
    "angular_spectrum",
    "annular_aperture",
    "annular_source",
    "ansi_to_noll",
    "audit_gradients",
    "audit_sampling",
    "band_irradiance",
    "bin_pixels",
    "blackbody",
    "bounded",
    "bounded_inverse",
    "camera_colours",
    "cfa_indices",
    "circular_aperture",
    "clip",
    "coded_aperture",
    "coherent_blur",
    "coherent_image",
    "colour_correction",
    "colour_matching",
    "compound_imaging",
    "convolve",
    "coordinates",
    "dark_field",
    "daylight",
    "defocus_path",
    "demosaic",
    "dft_matrix",
    "digitise",
    "disc_source",
    "distort",
    "distortion_fit",
    "encircled_energy",
    "energy_limited",
    "energy_limited_inverse",
    "export_height_map",
    "export_plate",
    "exposure_photons",
    "fast_size",
    "field_coefficients",
    "filter_start",
    "first_order",
    "fraunhofer",
    "frequencies",
    "fresnel",
    "fringe_to_noll",
    "gaussian_pass",
    "glass_index",
    "height_phase",
    "image_irradiance",
    "import_height_map",
    "import_plate",
    "import_prescription",
    "import_psf",
    "import_zernikes",
    "incoherent_image",
    "interpolate_spectrum",
    "kernel_start",
    "knife_edge",
    "layered_blur",
    "led_tilts",
    "lens_image",
    "lens_penalty",
    "lens_performance",
    "lens_phase",
    "lens_spots",
    "lens_wavefronts",
    "light_budget",
    "light_budget_inverse",
    "linear_to_srgb",
    "low_rank_psf",
    "luminous_efficiency",
    "matrix_dft",
    "measure_dark_current",
    "measure_sensor",
    "measured_psf",
    "misalign",
    "mix_colours",
    "mosaic",
    "motion_psf",
    "mtf",
    "mura_decoder",
    "nm_to_noll",
    "noise_amplification",
    "noll_to_ansi",
    "noll_to_nm",
    "observer_colours",
    "otf",
    "otf_along",
    "otf_from_pupil",
    "pack_mosaic",
    "partially_coherent_image",
    "phase_contrast",
    "phase_object",
    "photon_transfer",
    "pixel_mtf",
    "poisson_log_likelihood",
    "positive",
    "positive_inverse",
    "psf_from_lsf",
    "psf_from_mtf",
    "psf_from_pupil",
    "quantize_height",
    "rectangular_aperture",
    "refractive_index",
    "relative_illumination",
    "relief_element",
    "relief_report",
    "scene_field",
    "score_surrogate",
    "seidel_coefficients",
    "seidel_sums",
    "set_stop",
    "shot_noise",
    "shutter_code",
    "signed_difference",
    "slanted_edge_mtf",
    "spider",
    "spiral",
    "srgb_to_linear",
    "strehl",
    "surface_sag",
    "symmetric",
    "through_focus",
    "trace",
    "unit_disk",
    "unit_disk_inverse",
    "unpack_mosaic",
    "varying_blur",
    "vignetting_shift",
    "wiener",
    "zernike",
    "zernike_basis",
    "zernike_filter",
]
