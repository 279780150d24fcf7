"""Progress of long loops, shown when asked for."""


def progress_bar(total, unit):
    """A tqdm bar; ImportError that says what to do where tqdm is missing.

    Parameters
    ----------
    total : int or None
        How much there is to do, if known.
    unit : str
        What is counted, in the plural.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError(
            "progress=True needs tqdm: install it, or pass a callback instead"
        ) from None
    return tqdm(total=total, unit=unit, unit_scale=True)
