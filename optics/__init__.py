"""Light: linear scene radiance ``[B, C, H, W]`` to sensor values.

Files: ``grid`` sampling grids and transform sizes · ``fourier`` convolution · ``constraint``
bounded quantities · ``imaging`` front ends and the learned kernel · ``fourier_filter`` filters in
a 4f system · ``sensor`` photons, electrons, codes, by ``mosaic`` colour filter arrays, ``noise``
shot noise and ``converter`` · ``transfer`` sRGB and linear light.

Lengths are metres or pixels as stated, angles radians, light a fraction of full scale unless
photons or electrons are named. ``+x`` is increasing column, ``+y`` increasing row.
"""

from .aperture import (
    CodedPattern,
    annular_aperture,
    circular_aperture,
    coded_aperture,
    mura_decoder,
    rectangular_aperture,
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
from .converter import Converter, digitise
from .element import (
    Aberration,
    AmplitudeMask,
    CubicMask,
    Element,
    HeightMap,
    Lens,
    PhaseMask,
    height_phase,
    lens_phase,
    quantize_height,
)
from .fourier import (
    Boundary,
    convolve,
    dft_matrix,
    matrix_dft,
)
from .fourier_filter import (
    FilterStart,
    FourierFilter,
    coherent_image,
    filter_start,
    incoherent_image,
)
from .grid import coordinates, fast_size, frequencies
from .imaging import (
    CoherentImaging,
    FrontEnd,
    IncoherentImaging,
    coherent_blur,
    layered_blur,
    scene_field,
)
from .kernel import KernelStart, LearnedKernel, kernel_start, signed_difference
from .material import (
    MATERIALS,
    abbe_number,
    refractive_index,
)
from .mosaic import ColourFilterArray, Demosaicing, Pattern, cfa_indices, demosaic, mosaic
from .noise import ShotNoise, poisson_log_likelihood, score_surrogate, shot_noise
from .pixel import bin_pixels, pixel_mtf
from .propagation import (
    FarField,
    angular_spectrum,
    fraunhofer,
    fresnel,
)
from .psf import (
    Pupil,
    amplitude_spread,
    defocus_path,
    encircled_energy,
    measured_psf,
    mtf,
    otf,
    psf_from_pupil,
    strehl,
)
from .sensor import Reading, Sensor
from .transfer import linear_to_srgb, srgb_to_linear
from .varying import LowRankPSF, VaryingImaging, low_rank_psf, varying_blur
from .zernike import (
    ansi_to_noll,
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
    "CodedPattern",
    "CoherentImaging",
    "ColourFilterArray",
    "Converter",
    "CubicMask",
    "Demosaicing",
    "Element",
    "EnergyLimited",
    "FarField",
    "FilterStart",
    "FourierFilter",
    "FrontEnd",
    "HeightMap",
    "IncoherentImaging",
    "KernelStart",
    "LearnedKernel",
    "Lens",
    "LowRankPSF",
    "Pattern",
    "PhaseMask",
    "Positive",
    "Pupil",
    "Reading",
    "Sensor",
    "ShotNoise",
    "Symmetric",
    "Symmetry",
    "UnitDisk",
    "VaryingImaging",
    "abbe_number",
    "amplitude_spread",
    "angular_spectrum",
    "annular_aperture",
    "ansi_to_noll",
    "bin_pixels",
    "bounded",
    "bounded_inverse",
    "cfa_indices",
    "circular_aperture",
    "clip",
    "coded_aperture",
    "coherent_blur",
    "coherent_image",
    "convolve",
    "coordinates",
    "defocus_path",
    "demosaic",
    "dft_matrix",
    "digitise",
    "encircled_energy",
    "energy_limited",
    "energy_limited_inverse",
    "fast_size",
    "filter_start",
    "fraunhofer",
    "frequencies",
    "fresnel",
    "height_phase",
    "incoherent_image",
    "kernel_start",
    "layered_blur",
    "lens_phase",
    "linear_to_srgb",
    "low_rank_psf",
    "matrix_dft",
    "measured_psf",
    "mosaic",
    "mtf",
    "mura_decoder",
    "nm_to_noll",
    "noll_to_ansi",
    "noll_to_nm",
    "otf",
    "pixel_mtf",
    "poisson_log_likelihood",
    "positive",
    "positive_inverse",
    "psf_from_pupil",
    "quantize_height",
    "rectangular_aperture",
    "refractive_index",
    "scene_field",
    "score_surrogate",
    "shot_noise",
    "signed_difference",
    "srgb_to_linear",
    "strehl",
    "symmetric",
    "unit_disk",
    "unit_disk_inverse",
    "varying_blur",
    "zernike",
    "zernike_basis",
]
