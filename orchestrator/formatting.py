"""Formats numbers for people: quantities with decimal prefixes and three significant digits, and counts."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def format_bytes(num_bytes: float) -> str:
    """12_345_678 -> '12.3 MB' (1 MB = 10^6 bytes)."""
    return f"{_scaled(num_bytes)}B"


def format_flops(num_flops: float) -> str:
    """1.2e12 -> '1.2 TFLOP'."""
    return f"{_scaled(num_flops)}FLOP"


def format_seconds(seconds: float) -> str:
    """0.25 -> '0.25 s', 75 -> '1:15', 3675 -> '1:01:15'."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def counted(num: int, noun: str, plural: str | None = None) -> str:
    """1, 'round' -> '1 round'; 2000, 'round' -> '2000 rounds'. `plural` replaces the noun with an s."""
    return f"{num} {noun if num == 1 else plural or f'{noun}s'}"


def parse_bytes(text: str) -> float:
    """'12.3MB' -> 12_300_000.0, '5e6' -> 5_000_000.0. Raises ValueError for any other text."""
    number = text.strip().removesuffix("B").rstrip()
    prefix = number[-1:] if number[-1:] in _PREFIXES[1:] else ""
    return float(number.removesuffix(prefix)) * 1000.0 ** _PREFIXES.index(prefix)


def _scaled(value: float) -> str:
    for prefix in _PREFIXES:
        if abs(value) < 999.5 or prefix == _PREFIXES[-1]:
            break
        value /= 1000
    return f"{value:.3g} {prefix}"
