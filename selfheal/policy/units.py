"""Units by name, in families: what one of each is worth in the first of its family; and the unit that a name says.

A column whose unit is declared may have been sent in another one of its family and in no other. So a family may hold
what would be one name too many for every column that nobody has said anything of: mmHg and kPa, mg/dl and mmol/l.

Factors are exact by definition (BIPM, NIST SP 811) but for those of medicine, which are by molar mass: glucose 180.16
g/mol, cholesterol 386.7, triglycerides 885.7, creatinine 113.1, urea 60.06, its nitrogen 28.01, bilirubin 584.7, uric
acid 168.1, calcium 40.08, lactate 90.08, iron 55.85, vitamin D 400.6, haemoglobin 16,114 (the monomer); HbA1c by the
master equation of IFCC and NGSP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from selfheal.errors import nearest

FAMILIES: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "temperature": {"K": 1.0, "°C": 1.0, "°F": 1 / 1.8},
    "pressure": {
        "Pa": 1.0, "hPa": 100.0, "mbar": 100.0, "kPa": 1e3, "bar": 1e5, "MPa": 1e6, "mmHg": 133.322387415,
        "inHg": 3386.388640341, "cmH2O": 98.0665, "inH2O": 249.08891, "psi": 6894.757293168, "atm": 101325.0,
    },
    "length": {
        "m": 1.0, "mm": 1e-3, "cm": 0.01, "km": 1e3, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344,
        "nmi": 1852.0,
    },
    "area": {"m2": 1.0, "cm2": 1e-4, "ha": 1e4, "km2": 1e6, "ft2": 0.09290304, "acre": 4046.8564224},
    "volume": {
        "l": 1.0, "ml": 1e-3, "m3": 1e3, "gal": 3.785411784, "gal (UK)": 4.54609, "fl oz": 0.0295735295625,
        "ft3": 28.316846592, "bbl": 158.987294928,
    },
    "mass": {
        "kg": 1.0, "g": 1e-3, "mg": 1e-6, "t": 1e3, "lb": 0.45359237, "oz": 0.028349523125, "st": 6.35029318,
        "ton (US)": 907.18474, "ct": 2e-4,
    },
    "time": {
        "s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0, "weeks": 604800.0, "months": 2629800.0,
        "years": 31557600.0,
    },
    "speed": {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704, "kn": 1852 / 3600, "ft/s": 0.3048, "ft/min": 0.00508},
    "flow": {
        "l/s": 1.0, "l/min": 1 / 60, "l/h": 1 / 3600, "m3/s": 1e3, "m3/h": 1 / 3.6, "gpm": 3.785411784 / 60,
        "cfm": 28.316846592 / 60,
    },
    "force": {"N": 1.0, "kN": 1e3, "kgf": 9.80665, "lbf": 4.4482216152605},
    "torque": {"N m": 1.0, "kgf m": 9.80665, "lbf ft": 1.3558179483314, "lbf in": 0.1129848290276},
    "energy": {
        "J": 1.0, "kJ": 1e3, "MJ": 1e6, "Wh": 3600.0, "kWh": 3.6e6, "MWh": 3.6e9, "cal": 4.184, "kcal": 4184.0,
        "BTU": 1055.05585262, "therm": 105505585.262,
    },
    "power": {"W": 1.0, "kW": 1e3, "MW": 1e6, "hp": 745.6998715822702, "BTU/h": 0.2930710701722},
    "turns": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "rpm": 1 / 60},
    "angle": {"rad": 1.0, "deg": 0.017453292519943295},
    "memory": {"bytes": 1.0, "bits": 0.125, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1048576.0},
    "share": {"1": 1.0, "%": 0.01, "ppm": 1e-6},
    "glucose": {"mmol/l glucose": 1.0, "mg/dl glucose": 1 / 18.016},
    "cholesterol": {"mmol/l cholesterol": 1.0, "mg/dl cholesterol": 1 / 38.67},
    "triglycerides": {"mmol/l triglycerides": 1.0, "mg/dl triglycerides": 1 / 88.57},
    "creatinine": {"umol/l creatinine": 1.0, "mg/dl creatinine": 88.4},
    "urea": {"mmol/l urea": 1.0, "mg/dl urea": 1 / 6.006, "mg/dl BUN": 1 / 2.801},
    "bilirubin": {"umol/l bilirubin": 1.0, "mg/dl bilirubin": 17.1},
    "uric acid": {"umol/l uric acid": 1.0, "mg/dl uric acid": 59.48},
    "calcium": {"mmol/l calcium": 1.0, "mg/dl calcium": 1 / 4.008},
    "lactate": {"mmol/l lactate": 1.0, "mg/dl lactate": 1 / 9.008},
    "iron": {"umol/l iron": 1.0, "ug/dl iron": 1 / 5.585},
    "vitamin D": {"nmol/l vitamin D": 1.0, "ng/ml vitamin D": 2.496},
    "haemoglobin": {"g/l haemoglobin": 1.0, "g/dl haemoglobin": 10.0, "mmol/l haemoglobin": 16.114},
    "HbA1c": {"mmol/mol HbA1c": 1.0, "% HbA1c": 1 / 0.09148},
})  # fmt: skip
"""Family → unit → what one of it is worth. A unit is in one family."""

ZEROS: Mapping[str, float] = MappingProxyType({"°C": 273.15, "°F": 459.67 / 1.8, "% HbA1c": -2.152 / 0.09148})
"""Where the zero of a unit lies in the first of its family, if elsewhere."""

NAMES = tuple(unit for family in FAMILIES.values() for unit in family)
"""Every unit that can be declared."""


def plain(unit: str) -> str:
    """A unit's name as it is listed, however its litre and its micro are written.

    >>> plain("mg/dL glucose"), plain("µmol/L creatinine")
    ('mg/dl glucose', 'umol/l creatinine')
    """
    return unit.replace("L", "l").replace("µ", "u").replace("μ", "u").strip()


def family(unit: str) -> Mapping[str, float]:
    """Worths of the units of a unit's family; empty for one that is not listed."""
    return next((units for units in FAMILIES.values() if plain(unit) in units), {})


def likely(written: str) -> str:
    """A hint that ends a message about a unit that is not listed: the one that its word means, or the nearest name.

    >>> likely("celsius"), likely("Degrees F"), likely("kilometers"), likely("KPA")
    ("; did you mean '°C'?", "; did you mean '°F'?", "; did you mean 'km'?", "; did you mean 'kPa'?")
    >>> likely("furlong")
    ''
    """
    folded = {name.casefold(): name for name in NAMES}
    word = written.strip().casefold()
    last = words(word)[-1]
    said = folded.get(word) or _SPELT.get(last) or _WORDS.get(last) or _WORDS.get(f"{last}s") or _LETTERS.get(last)
    return f"; did you mean {said!r}?" if said in NAMES else nearest(plain(written), NAMES)


def quantity(unit: str) -> str:
    """What a unit measures, as its family is called; empty for one that is not listed.

    >>> quantity("km"), quantity("US$")
    ('length', '')
    """
    return next((of for of, units in FAMILIES.items() if plain(unit) in units), "")


_WORDS: Mapping[str, str] = {
    "fahrenheit": "°F", "degf": "°F", "celsius": "°C", "degc": "°C", "kelvin": "K",
    "mm": "mm", "cm": "cm", "km": "km", "inch": "in", "inches": "in", "feet": "ft", "ft": "ft", "mile": "mi",
    "miles": "mi", "meters": "m", "metres": "m", "mg": "mg", "kg": "kg", "grams": "g", "lb": "lb", "lbs": "lb",
    "pounds": "lb", "ounces": "oz", "mph": "mph", "kmh": "km/h", "kph": "km/h", "knots": "kn", "psi": "psi",
    "hpa": "hPa", "kpa": "kPa", "mbar": "mbar", "mmhg": "mmHg", "inhg": "inHg", "ms": "ms", "msec": "ms",
    "seconds": "s", "secs": "s", "minutes": "min", "mins": "min", "hours": "h", "days": "d", "weeks": "weeks",
    "months": "months", "years": "years", "usd": "US$", "eur": "€", "gbp": "£", "dollars": "US$", "euros": "€",
    "cents": "ct", "percent": "%", "pct": "%", "ppm": "ppm", "ml": "ml", "litres": "l", "liters": "l",
    "gallons": "gal", "kwh": "kWh", "watts": "W", "volts": "V", "bytes": "bytes", "kb": "kB", "mb": "MB",
    "db": "dB", "hz": "Hz", "khz": "kHz",
}  # fmt: skip
"""Words in a column's name that are a unit."""

_PREFIXES: Mapping[str, str] = {"": "", "kilo": "k", "mega": "M", "hecto": "h", "centi": "c", "milli": "m"}
_STEMS: Mapping[str, str] = {
    "meter": "m", "metre": "m", "gram": "g", "liter": "l", "litre": "l", "pascal": "Pa", "joule": "J", "watt": "W",
    "hertz": "Hz", "newton": "N", "bar": "bar", "second": "s", "byte": "B",
}  # fmt: skip
_SPELT: Mapping[str, str] = {
    **{f"{p}{stem}{s}": f"{k}{unit}" for p, k in _PREFIXES.items() for stem, unit in _STEMS.items() for s in ("", "s")},
    "centigrade": "°C", "radians": "rad", "tonnes": "t", "calories": "cal", "horsepower": "hp", "hr": "h", "hrs": "h",
    "sec": "s", "secs": "s", "stones": "st", "acres": "acre", "hectares": "ha", "barrels": "bbl",
}  # fmt: skip
"""Units in full, which are said of no column by its name: only a message asks whether one of them was meant."""

_LETTERS: Mapping[str, str] = {
    "c": "°C", "f": "°F", "k": "K", "m": "m", "g": "g", "s": "s", "v": "V", "l": "l", "in": "in",
}  # fmt: skip
"""Letters that are a unit as the last of several words."""

_OTHERWISE = frozenset({"ms", "mb", "kb", "db", "ppm", "cents", "ounces", "pounds"})
"""Words that are as often something else: metres per second, millibars, money, an ounce of fluid."""

TEMPERATURES = frozenset({"temp", "temperature", "dew", "tmin", "tmax"})
_LENGTHS = frozenset({
    "dist", "distance", "height", "width", "length", "depth", "altitude", "elevation", "visibility", "radius",
    "diameter",
})  # fmt: skip
_TOLD: Mapping[str, frozenset[str]] = {
    "c": TEMPERATURES, "f": TEMPERATURES, "k": TEMPERATURES, "m": _LENGTHS,
    "in": _LENGTHS | {"rain", "precipitation"}, "g": frozenset({"weight", "mass"}), "l": frozenset({"volume"}),
    "s": frozenset({"duration", "elapsed", "latency", "delay", "time"}),
}  # fmt: skip
"""Words beside which a letter is a unit: alone it may be a count, months or a minimum."""

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_POWERS = re.compile(r"(?<![^\W\d_])([cmk]?m|in|ft|mi|feet|met(er|re)s|inch(es)?|miles)[ _^]?[23]\b|²|³", re.I)
"""Of a length: an area or a volume, or the second column of its kind."""

_OF_SOMETHING = frozenset({
    "per", "price", "cost", "fee", "rate", "ratio", "density", "pace", "speed", "velocity", "consumption", "sq",
    "square", "cu", "cubic",
})  # fmt: skip
"""Words beside which a unit is a part of the column's own."""


def words(name: str) -> list[str]:
    """The words of a column's name, in small letters.

    >>> words("Sepal Length (cm)"), words("pressure_hPa"), words("speedKmh")
    (['sepal', 'length', 'cm'], ['pressure', 'hpa'], ['speed', 'kmh'])
    """
    parts: list[str] = []
    for part in re.findall(r"[^\W\d_]+", name):
        parts += [part.lower()] if part.lower() in _WORDS else [word.lower() for word in _PARTS.findall(part)]
    return parts or [name.lower()]


def unit(name: str) -> str:
    """The unit that a column's name may say, or empty.

    >>> unit("temp_c"), unit("sepal length (cm)"), unit("AveRooms")
    ('°C', 'cm', '')
    """
    said = words(name)
    last = _LETTERS.get(said[-1], "") if len(said) > 1 else ""
    return next((_WORDS[word] for word in reversed(said) if word in _WORDS), last)


@cache
def clear_unit(name: str) -> str:
    """The listed unit that a column's name says beyond doubt, by its last word; or empty.

    A letter is one only beside what is measured so, and of two units in a row, a rate, only a listed one.

    >>> clear_unit("weight_kg"), clear_unit("wind (km/h)"), clear_unit("temp_f"), clear_unit("wind_m_s")
    ('kg', 'km/h', '°F', 'm/s')
    >>> [clear_unit(name) for name in ("min_m", "count_c", "area_km2", "kg_per_km", "wind_ms", "density (kg/m3)")]
    ['', '', '', '', '', '']
    """
    bracketed = re.search(r"[\[(]\s*([^\])]+?)\s*[\])]\s*$", name)
    if bracketed and plain(bracketed[1]) in NAMES and bracketed[1] != "1":
        return plain(bracketed[1])
    said = words(name)
    *before, last = said
    if before and (rate := f"{before[-1]}/{last}") in NAMES:
        return rate
    unit = _WORDS.get(last) or (_LETTERS[last] if _TOLD.get(last, frozenset()) & set(before) else "")
    others = any(word in _WORDS for word in before) or last in _OTHERWISE
    part = "/" in name or _POWERS.search(name) or (_OF_SOMETHING & set(said) and quantity(unit) != "speed")
    return "" if others or part or not family(unit) else unit


def contradicts(name: str, declared: str) -> str:
    """The unit that a name says where it is of another quantity than a declared one; empty where they may agree.

    Who writes the beginning of a unit, mg for mg/dl or mm for mmHg, means the same.

    >>> contradicts("weight_kg", "km"), contradicts("pressure_mm", "mmHg"), contradicts("thrust_lbs", "lbf")
    ('kg', '', '')
    """
    said, other = clear_unit(name), plain(declared)
    same = quantity(said) == quantity(other) or other == "1"
    begins = other.startswith(said) and (len(said) > 1 or not other[1:2].isalpha())
    return "" if not said or same or begins else said
