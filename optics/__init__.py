"""Light: linear scene radiance ``[B, C, H, W]`` to sensor values.

Files, in the order of the light: ``illumination`` lamps, ``colour`` filters · ``aperture``,
``coded_aperture``, ``zernike``, ``material``, ``element``, ``height_map``, ``aberration`` what
stands in a pupil · ``off_axis``, its wavefronts, and ``vignetting``, its openings across the
picture · ``propagation`` of fields · ``pupil``, whose samples may be ``coarse``, ``defocus`` and
``psf``, pupil to point-spread function, with its ``psf_quality``, or ``measured``, or ``from_mtf``,
of a ``contrast_curve``, or from a program for ``lens_design``, or of a ``compound_lens``, whose
``surface``s are as in a ``prescription_file``: by ``paraxial`` numbers, ``ray_trace`` and
``ray_aiming``, over its ``lens_field``, by ``compound_imaging`` · ``modulation``, their transfer
functions · ``front_end``, the interface of ``imaging`` and ``varying``, both a ``psf_imaging``,
``coherent``, ``kernel`` and ``fourier_filter`` with its ``plate`` · ``projection``, distortion and
falloff · ``shutter`` of a scene that moves · ``radiometry``, lux, watts, photons · ``sensor``
photons, electrons, codes, by the steps of ``read_out``, with ``pixel``, ``noise``, ``converter``
and ``mosaic``, and by ``sensor_range``, its ``photon_transfer``, as of a data sheet, and
``camera_measurement``, by its frames, with ``nonuniformity`` and ``dark_current`` · ``restoration``
of what was blurred, or by a network, ``restoration_unet`` · ``transfer`` sRGB and linear light.
Beside them: ``grid``, ``fourier``, ``planes``, ``constraint``, ``quantity``, ``audit`` of
gradients, ``sampling`` of pupils, ``lens_performance`` as of a data sheet and contrast
``through_focus``, of a lens as ``examined`` for them, ``slanted_edge``, the contrast of a whole
camera, ``fabrication`` of reliefs and ``plate_file`` of other plates, by ``maker_file``.

Lengths are metres or pixels as stated, angles radians, light a fraction of full scale unless
photons or electrons are named. ``+x`` is increasing column, ``+y`` increasing row.
"""

from .aberration import Aberration
from .aperture import annular_aperture, circular_aperture, rectangular_aperture, spider
from .audit import (
    GradientAudit,
    GradientEntry,
    GradientFault,
    audit_gradients,
)
from .camera_measurement import SensorMeasurement, measure_sensor
from .coded_aperture import CodedPattern, coded_aperture, mura_decoder
from .coherent import CoherentImaging, coherent_blur, phase_object, scene_field
from .colour import ColourChannels, ColourFilters, mix_colours
from .compound_imaging import CompoundPupil, compound_imaging
from .compound_lens import CompoundLens, lens_penalty
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
from .converter import Converter, digitise
from .dark_current import DarkCurrent, measure_dark_current
from .defocus import defocus_path
from .element import (
    AmplitudeMask,
    CubicMask,
    Element,
    Lens,
    PhaseElement,
    PhaseMask,
    lens_phase,
)
from .fabrication import (
    FabricatedRelief,
    Relief,
    ReliefReport,
    export_height_map,
    import_height_map,
    relief_element,
    relief_report,
)
from .fourier import (
    Boundary,
    convolve,
    dft_matrix,
    matrix_dft,
)
from .fourier_filter import (
    FourierFilter,
    coherent_image,
    incoherent_image,
    partially_coherent_image,
)
from .from_mtf import PSFEstimate, psf_from_lsf, psf_from_mtf
from .front_end import FrontEnd
from .grid import coordinates, fast_size, frequencies
from .height_map import HeightMap, height_phase, quantize_height
from .illumination import (
    Illumination,
    annular_source,
    disc_source,
    led_tilts,
    light_budget,
    light_budget_inverse,
)
from .imaging import IncoherentImaging, layered_blur
from .kernel import KernelStart, LearnedKernel, kernel_start, signed_difference
from .lens_design import PSFListing, ZernikeListing, import_psf, import_zernikes
from .lens_field import (
    LensImage,
    LensSpots,
    LensWavefronts,
    lens_image,
    lens_spots,
    lens_wavefronts,
)
from .lens_performance import DepthOfField, LensPerformance, Polychromatic, lens_performance
from .material import (
    MATERIALS,
    abbe_number,
    refractive_index,
)
from .measured import measured_psf
from .modulation import mtf, otf, otf_along, otf_from_pupil
from .mosaic import (
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
from .noise import Generators, ShotNoise, poisson_log_likelihood, score_surrogate, shot_noise
from .nonuniformity import Nonuniformity
from .off_axis import field_coefficients, seidel_coefficients
from .paraxial import FirstOrder, SeidelSums, first_order, seidel_sums, set_stop
from .photon_transfer import PhotonTransfer, photon_transfer
from .pixel import bin_pixels, pixel_mtf
from .plate import (
    FilterStart,
    dark_field,
    filter_start,
    gaussian_pass,
    knife_edge,
    phase_contrast,
    spiral,
    zernike_filter,
)
from .plate_file import FabricatedPlate, PlateFiles, export_plate, import_plate
from .prescription_file import Prescription, import_prescription
from .projection import Projection, distort, distortion_fit, relative_illumination
from .propagation import (
    FarField,
    angular_spectrum,
    fraunhofer,
    fresnel,
)
from .psf import amplitude_spread, psf_from_pupil
from .psf_quality import encircled_energy, strehl
from .pupil import Pupil
from .radiometry import (
    band_irradiance,
    blackbody,
    exposure_photons,
    image_irradiance,
    interpolate_spectrum,
    luminous_efficiency,
)
from .ray_trace import Rays, trace
from .restoration import Wiener, wiener
from .restoration_unet import RestorationUNet
from .sampling import SamplingAudit, audit_sampling
from .sensor import Reading, Sensor
from .shutter import CodedExposure, ShutterStart, motion_psf, shutter_code
from .slanted_edge import SlantedEdge, slanted_edge_mtf
from .surface import Glass, Surface, glass_index, surface_sag
from .through_focus import ThroughFocus, through_focus
from .transfer import linear_to_srgb, srgb_to_linear
from .varying import LowRankPSF, VaryingImaging, low_rank_psf, varying_blur
from .vignetting import Vignetting, vignetting_shift
from .zernike import (
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
    "cfa_indices",
    "circular_aperture",
    "clip",
    "coded_aperture",
    "coherent_blur",
    "coherent_image",
    "compound_imaging",
    "convolve",
    "coordinates",
    "dark_field",
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
    "mix_colours",
    "mosaic",
    "motion_psf",
    "mtf",
    "mura_decoder",
    "nm_to_noll",
    "noll_to_ansi",
    "noll_to_nm",
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
